// FOLDER DOCUMENTS ROUNDS: the documents of a file (`bench documents`) into plain FTS5, 128 a transaction.
// See Benchmarks/Bench/Search.swift.
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static sqlite3 *db;

static void check(int code) {
  if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return;
  fprintf(stderr, "%s\n", sqlite3_errmsg(db));
  exit(74);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **words) {
  if (count < 4) return 64;
  FILE *file = fopen(words[2], "r");
  if (!file) return 74;
  long rounds = atol(words[3]), documents = 0, room = 0;
  struct { char *text[4]; int size[4]; } *all = NULL;
  for (;;) {
    uint32_t size;
    if (fread(&size, 4, 1, file) != 1) break;
    if (documents == room) all = realloc(all, (room = room * 2 + 16) * sizeof *all);
    for (int i = 0; i < 4; i++) {
      if (i > 0 && fread(&size, 4, 1, file) != 1) return 65;
      all[documents].text[i] = malloc(size + 1), all[documents].size[i] = size;
      if (fread(all[documents].text[i], 1, size, file) != size) return 65;
    }
    documents++;
  }
  fclose(file);
  char path[4096];
  snprintf(path, sizeof path, "%s/search.db", words[1]);
  check(sqlite3_open(path, &db));
  // As System/SQLite/Database.swift opens it.
  check(sqlite3_exec(db,
    "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000;"
    "PRAGMA cache_size=-16384;"
    "CREATE VIRTUAL TABLE words USING fts5(sender, recipients, subject, body, tokenize='unicode61 remove_diacritics 2')",
    NULL, NULL, NULL));
  sqlite3_stmt *insert;
  check(sqlite3_prepare_v2(
    db, "INSERT INTO words(sender, recipients, subject, body) VALUES(?1,?2,?3,?4)", -1, &insert, NULL));
  double start = now(), used = cpu();
  long done = 0;
  for (long round = 0; round < rounds; round++)
    for (long i = 0; i < documents; i++) {
      if (done % 128 == 0) check(sqlite3_exec(db, done ? "COMMIT; BEGIN IMMEDIATE" : "BEGIN IMMEDIATE", NULL, NULL, NULL));
      for (int column = 0; column < 4; column++)
        check(sqlite3_bind_text(insert, column + 1, all[i].text[column], all[i].size[column], SQLITE_TRANSIENT));
      check(sqlite3_step(insert));
      check(sqlite3_reset(insert));
      done++;
    }
  check(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
  printf("{\"count\": %ld, \"seconds\": %f, \"cpu\": %f}\n", done, now() - start, cpu() - used);
}
