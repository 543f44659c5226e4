#pragma once
#include <sqlite3.h>
/* SQLITE_STATIC and SQLITE_TRANSIENT are pointer casts, which Swift does not import: bind through these. */
static inline int csqlite_bind_blob_static(sqlite3_stmt *s, int i, const void *p, sqlite3_uint64 n) { return sqlite3_bind_blob64(s, i, p, n, SQLITE_STATIC); }
static inline int csqlite_bind_blob_copy(sqlite3_stmt *s, int i, const void *p, sqlite3_uint64 n) { return sqlite3_bind_blob64(s, i, p, n, SQLITE_TRANSIENT); }
static inline int csqlite_bind_text_copy(sqlite3_stmt *s, int i, const char *p, sqlite3_uint64 n) { return sqlite3_bind_text64(s, i, p, n, SQLITE_TRANSIENT, SQLITE_UTF8); }
