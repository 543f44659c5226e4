// append FOLDER BATCH RECORDS: records of 1 KiB into one partition, BATCH a commit.
#include "log.h"

int main(int count, char **words) {
  if (count < 4) return 64;
  long batch = atol(words[2]), records = atol(words[3]);
  open_log(words[1], 1);
  sqlite3_stmt *row = prepare(INSERT, 0);
  unsigned char key[16], headers[284], value[724];
  noise(key, sizeof key), noise(headers, sizeof headers), noise(value, sizeof value);
  double start = now(), used = cpu();
  long done = 0;
  while (done < records) {
    begin();
    int64_t at = microseconds();
    for (long i = 0; i < batch; i++, done++)
      insert(row, done, at, sizeof value, 0, key, sizeof key, headers, sizeof headers, value, sizeof value);
    commit();
  }
  report(done, now() - start, cpu() - used);
}
