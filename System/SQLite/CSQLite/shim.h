#pragma once
#include <sqlite3.h>
#include <string.h>
/* SQLITE_STATIC and SQLITE_TRANSIENT are pointer casts, which Swift does not import: bind through these. */
static inline int csqlite_bind_blob_static(sqlite3_stmt *s, int i, const void *p, sqlite3_uint64 n) { return sqlite3_bind_blob64(s, i, p, n, SQLITE_STATIC); }
static inline int csqlite_bind_blob_copy(sqlite3_stmt *s, int i, const void *p, sqlite3_uint64 n) { return sqlite3_bind_blob64(s, i, p, n, SQLITE_TRANSIENT); }
static inline int csqlite_bind_text_copy(sqlite3_stmt *s, int i, const char *p, sqlite3_uint64 n) { return sqlite3_bind_text64(s, i, p, n, SQLITE_TRANSIENT, SQLITE_UTF8); }
/* Copies the 48 bytes by which SQLite itself sees that somebody has committed: the header of the WAL index, in memory that all
   connections share (sqlite.org/walformat.html, section 2.1). 0: there is none. Only behind a read of this connection, which
   has opened the index: before, this would open it in a way that closing does not undo. */
static inline int csqlite_wal_header(sqlite3 *db, void *header) {
  sqlite3_file *file = 0;
  void volatile *region = 0;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file || !file->pMethods) return 0;
  if (file->pMethods->iVersion < 2 || !file->pMethods->xShmMap) return 0;
  if (file->pMethods->xShmMap(file, 0, 32768, 0, &region) != SQLITE_OK || !region) return 0;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  memcpy(header, (const void *)region, 48);
  return 1;
}
