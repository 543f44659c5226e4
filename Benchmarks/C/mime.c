// FOLDER ROUNDS read|decode: every message in FOLDER with GMime, from memory. See Benchmarks/Bench/MIME.swift.
#include <dirent.h>
#include <gmime/gmime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

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

static long found;
static GMimeStream *nothing;

static void part(GMimeObject *parent, GMimeObject *object, gpointer decoding) {
  (void)parent;
  GMimeContentType *type = g_mime_object_get_content_type(object);
  if (type) found += strlen(g_mime_content_type_get_media_subtype(type));
  if (!GMIME_IS_PART(object)) return;
  const char *name = g_mime_part_get_filename(GMIME_PART(object));
  if (name) found += strlen(name);
  GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(object));
  if (decoding && content) found += g_mime_data_wrapper_write_to_stream(content, nothing);
}

static void each(GMimeObject *parent, GMimeObject *object, gpointer decoding) {
  part(parent, object, decoding);
  // GMime does not go into messages by itself.
  if (GMIME_IS_MESSAGE_PART(object)) {
    GMimeMessage *message = g_mime_message_part_get_message(GMIME_MESSAGE_PART(object));
    if (message) g_mime_message_foreach(message, each, decoding);
  }
}

int main(int count, char **words) {
  if (count < 4) return 64;
  long rounds = atol(words[2]), size = 0, messages = 0, room = 0;
  int decoding = strcmp(words[3], "decode") == 0;
  struct { char *bytes; long size; } *all = NULL;
  DIR *folder = opendir(words[1]);
  if (!folder) return 74;
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (!strstr(entry->d_name, ".eml")) continue;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", words[1], entry->d_name);
    gsize length;
    char *bytes;
    if (!g_file_get_contents(path, &bytes, &length, NULL)) return 74;
    if (messages == room) all = realloc(all, (room = room * 2 + 16) * sizeof *all);
    all[messages].bytes = bytes, all[messages++].size = length;
    size += length;
  }
  closedir(folder);
  g_mime_init();
  nothing = g_mime_stream_null_new();
  double start = now(), used = cpu();
  for (long round = 0; round < rounds; round++)
    for (long i = 0; i < messages; i++) {
      GMimeStream *stream = g_mime_stream_mem_new_with_buffer(all[i].bytes, all[i].size);
      GMimeParser *parser = g_mime_parser_new_with_stream(stream);
      GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
      if (message) {
        const char *subject = g_mime_message_get_subject(message);
        if (subject) found += strlen(subject);
        InternetAddressList *from = g_mime_message_get_from(message);
        if (from) found += internet_address_list_length(from);
        g_mime_message_foreach(message, each, decoding ? &decoding : NULL);
        g_object_unref(message);
      }
      g_object_unref(parser);
      g_object_unref(stream);
    }
  printf("{\"count\": %ld, \"seconds\": %f, \"cpu\": %f, \"bytes\": %ld, \"found\": %ld}\n", messages * rounds, now() - start,
         cpu() - used, size * rounds, found / rounds);
}
