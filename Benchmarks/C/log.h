// What both peers share: a log in SQLite with the tables and pragmas of the embedded broker, written by hand.
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}
static double cpu(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
static int64_t microseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

static sqlite3 *db;
#define CHECK(call)                                                                            \
  do {                                                                                         \
    int code = (call);                                                                         \
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW) {                      \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, sqlite3_errmsg(db));       \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)

static sqlite3_stmt *prepare(const char *format, int number) {
  char sql[500];
  sqlite3_stmt *statement;
  snprintf(sql, sizeof sql, format, number, number, number);
  CHECK(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, 0));
  return statement;
}
static void run(sqlite3_stmt *statement) {
  CHECK(sqlite3_step(statement));
  sqlite3_reset(statement);
}
static void execute(const char *sql) { CHECK(sqlite3_exec(db, sql, 0, 0, 0)); }

static sqlite3_stmt *begin_statement, *commit_statement;
static void begin(void) { run(begin_statement); }
static void commit(void) { run(commit_statement); }

static void open_log(const char *folder, int partitions) {
  char path[500];
  snprintf(path, sizeof path, "%s/log.db", folder);
  CHECK(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, 0));
  execute("PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000;"
          "PRAGMA cache_size=-16384; PRAGMA secure_delete=OFF;"
          "CREATE TABLE content(id INTEGER PRIMARY KEY, sum INTEGER NOT NULL, data BLOB NOT NULL);"
          "CREATE TABLE released(content INTEGER PRIMARY KEY, at INTEGER NOT NULL);"
          "CREATE INDEX released_at ON released(at);"
          "CREATE TABLE committed(partition INTEGER, \"group\" INTEGER, next INTEGER NOT NULL,"
          "  PRIMARY KEY(partition, \"group\")) WITHOUT ROWID");
  for (int number = 0; number < partitions; number++)
    run(prepare("CREATE TABLE p_%d(offset INTEGER PRIMARY KEY, at INTEGER NOT NULL, sum INTEGER NOT NULL,"
                " size INTEGER NOT NULL, content INTEGER, key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB)", number));
  begin_statement = prepare("BEGIN IMMEDIATE", 0);
  commit_statement = prepare("COMMIT", 0);
}

// The same sum over words as the broker's.
static uint64_t sum_add(uint64_t hash, const void *bytes, size_t count) {
  const unsigned char *at = bytes;
  for (; count >= 8; at += 8, count -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    hash = (hash ^ word) * 0x00000100000001B3ull;
    hash ^= hash >> 29;
  }
  uint64_t rest = 0;
  while (count--) rest = rest << 8 | *at++;
  hash = (hash ^ rest) * 0x00000100000001B3ull;
  return hash ^ hash >> 29;
}

static void insert(sqlite3_stmt *statement, int64_t offset, int64_t at, int64_t size, int64_t content, const void *key,
                   int key_size, const void *headers, int headers_size, const void *value, int value_size) {
  uint64_t sum = sum_add(0xCBF29CE484222325ull, &offset, 8);
  sum = sum_add(sum, key, key_size);
  sum = sum_add(sum, headers, headers_size);
  if (value) sum = sum_add(sum, value, value_size);
  sqlite3_bind_int64(statement, 1, offset);
  sqlite3_bind_int64(statement, 2, at);
  sqlite3_bind_int64(statement, 3, (int64_t)sum);
  sqlite3_bind_int64(statement, 4, size);
  if (content) sqlite3_bind_int64(statement, 5, content);
  else sqlite3_bind_null(statement, 5);
  sqlite3_bind_blob64(statement, 6, key, key_size, SQLITE_STATIC);
  sqlite3_bind_blob64(statement, 7, headers, headers_size, SQLITE_STATIC);
  sqlite3_bind_blob64(statement, 8, value, value_size, SQLITE_STATIC);
  run(statement);
}
#define INSERT "INSERT INTO p_%d(offset,at,sum,size,content,key,headers,value) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)"

static void noise(unsigned char *bytes, int count) {
  uint64_t state = 88172645463325252ull;
  while (count--) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    *bytes++ = (unsigned char)state;
  }
}
static void report(long count, double seconds, double cpu) {
  printf("{\"count\": %ld, \"seconds\": %f, \"cpu\": %f}\n", count, seconds, cpu);
}
