// chain FOLDER BATCH HOPS MESSAGES: 10 KiB messages through seven hops. A hop reads a batch, checks the sums, adds a line of
// history and a name to the headers, appends rows that refer to the content, and moves the group on. HOPS of
// those batches share one commit. What passed the last hop is released, as the broker does for its window of time travel.
#include "log.h"

enum { hops = 7, first_headers = 520, line = 40 };
static sqlite3_stmt *reads[hops], *inserts[hops + 1], *offsets, *release;
static int64_t next_offset[hops + 1], position[hops];
static unsigned char headers[first_headers + hops * line];

static long hop(int number, long batch, int64_t at) {
  sqlite3_stmt *read = reads[number];
  sqlite3_bind_int64(read, 1, position[number]);
  sqlite3_bind_int64(read, 2, batch);
  long count = 0;
  while (sqlite3_step(read) == SQLITE_ROW) {
    int64_t offset = sqlite3_column_int64(read, 0), size = sqlite3_column_int64(read, 3);
    int64_t content = sqlite3_column_int64(read, 4);
    const void *key = sqlite3_column_blob(read, 5), *old = sqlite3_column_blob(read, 6);
    int key_size = sqlite3_column_bytes(read, 5), old_size = sqlite3_column_bytes(read, 6);
    uint64_t sum = sum_add(sum_add(sum_add(0xCBF29CE484222325ull, &offset, 8), key, key_size), old, old_size);
    if ((int64_t)sum != sqlite3_column_int64(read, 2)) {
      fprintf(stderr, "damaged\n");
      exit(1);
    }
    memcpy(headers, old, old_size);
    memset(headers + old_size, 'h', line);
    insert(inserts[number + 1], next_offset[number + 1]++, at, size, content, key, key_size, headers, old_size + line, 0, 0);
    if (number == hops - 1) {
      sqlite3_bind_int64(release, 1, content);
      sqlite3_bind_int64(release, 2, at);
      run(release);
    }
    count++;
  }
  sqlite3_reset(read);
  if (count == 0) return 0;
  position[number] += count;
  sqlite3_bind_int64(offsets, 1, number);
  sqlite3_bind_int64(offsets, 2, position[number]);
  run(offsets);
  return count;
}

int main(int count, char **words) {
  if (count < 5) return 64;
  long batch = atol(words[2]), share = atol(words[3]), messages = atol(words[4]);
  open_log(words[1], hops + 1);
  sqlite3_stmt *content = prepare("INSERT INTO content(id,sum,data) VALUES(?1,?2,?3)", 0);
  for (int number = 0; number <= hops; number++) inserts[number] = prepare(INSERT, number);
  for (int number = 0; number < hops; number++)
    reads[number] = prepare("SELECT offset,at,sum,size,content,key,headers,value FROM p_%d WHERE offset>=?1"
                            " ORDER BY offset LIMIT ?2", number);
  offsets = prepare("INSERT INTO committed VALUES(?1,1,?2) ON CONFLICT DO UPDATE SET next=excluded.next", 0);
  release = prepare("INSERT OR REPLACE INTO released VALUES(?1,?2)", 0);

  static unsigned char key[36], data[10240];
  noise(key, sizeof key), noise(headers, sizeof headers), noise(data, sizeof data);
  for (long done = 0; done < messages;) {
    begin();
    for (int i = 0; i < 64 && done < messages; i++) {
      int64_t id = ++done;
      sqlite3_bind_int64(content, 1, id);
      sqlite3_bind_int64(content, 2, (int64_t)sum_add(id, data, sizeof data));
      sqlite3_bind_blob64(content, 3, data, sizeof data, SQLITE_STATIC);
      run(content);
      insert(inserts[0], next_offset[0]++, microseconds(), sizeof data, id, key, sizeof key, headers, first_headers, 0, 0);
    }
    commit();
  }
  double start = now(), used = cpu();
  long done = 0, shared = 0;
  while (done < messages) {
    for (int number = hops - 1; number >= 0; number--) {
      if (shared == 0) begin();
      long moved = hop(number, batch, microseconds());
      if (number == hops - 1) done += moved;
      if (moved > 0 && ++shared >= share) commit(), shared = 0;
      else if (moved == 0 && shared == 0) commit();
    }
  }
  if (shared > 0) commit();
  report(done, now() - start, cpu() - used);
}
