/* Sends mail by SMTP on several connections, each message after the reply to the one before, and says how long the reply
   to the content took, from its last byte:
     smtp PORT SESSIONS MESSAGES BYTES SENDER RECIPIENT
   Prints {"count", "seconds", "p50", "p99"}, the latter in milliseconds. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int port;
static long messages;
static const char *sender, *recipient;
static char *content;
static size_t content_size;
static double *waits; /* seconds */
static atomic_long next_message;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

/* Sends and waits for the last line of the reply, which has to begin with `expected`. */
static void say(int peer, const char *words, size_t size, char expected) {
  while (size) {
    ssize_t sent = write(peer, words, size);
    if (sent <= 0) fail("write", "the connection has ended");
    words += sent, size -= (size_t)sent;
  }
  char reply[4096];
  size_t have = 0;
  while (1) {
    ssize_t got = read(peer, reply + have, sizeof reply - 1 - have);
    if (got <= 0) fail("read", "the connection has ended");
    have += (size_t)got;
    reply[have] = 0;
    if (reply[have - 1] != '\n') continue;
    char *last = reply + have - 1;
    while (last > reply && last[-1] != '\n') last--;
    if (strlen(last) < 4 || last[3] == '-') continue;
    if (last[0] != expected) fail("reply", reply);
    return;
  }
}

static void *session(void *unused) {
  (void)unused;
  char line[512];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int peer = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  if (peer < 0 || connect(peer, (struct sockaddr *)&address, sizeof address)) fail("connect", "refused");
  setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  say(peer, "", 0, '2');
  say(peer, "EHLO client.example.org\r\n", 25, '2');
  for (long index; (index = atomic_fetch_add(&next_message, 1)) < messages;) {
    say(peer, line, (size_t)snprintf(line, sizeof line, "MAIL FROM:<%s>\r\n", sender), '2');
    say(peer, line, (size_t)snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", recipient), '2');
    say(peer, "DATA\r\n", 6, '3');
    double begin = seconds();
    say(peer, content, content_size, '2');
    waits[index] = seconds() - begin;
  }
  say(peer, "QUIT\r\n", 6, '2');
  close(peer);
  return NULL;
}

static int compare(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return a < b ? -1 : a > b;
}

int main(int argc, char **argv) {
  if (argc != 7) fail("usage", "smtp PORT SESSIONS MESSAGES BYTES SENDER RECIPIENT");
  port = atoi(argv[1]), messages = atol(argv[3]), sender = argv[5], recipient = argv[6];
  long sessions = atol(argv[2]);
  size_t size = (size_t)atol(argv[4]);
  content = malloc(size + 512);
  content_size = (size_t)sprintf(
      content, "From: <%s>\r\nTo: <%s>\r\nSubject: a benchmark\r\nMessage-ID: <bench@example.org>\r\n\r\n", sender, recipient);
  while (content_size + 80 < size) {
    memset(content + content_size, 'X', 78);
    memcpy(content + content_size + 78, "\r\n", 2);
    content_size += 80;
  }
  memcpy(content + content_size, "\r\n.\r\n", 5);
  content_size += 5;
  waits = calloc((size_t)messages, sizeof *waits);
  pthread_t *threads = malloc((size_t)sessions * sizeof *threads);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 << 10);
  double begin = seconds();
  for (long one = 0; one < sessions; one++)
    if (pthread_create(&threads[one], &attributes, session, NULL)) fail("thread", "cannot be made");
  for (long one = 0; one < sessions; one++) pthread_join(threads[one], NULL);
  double took = seconds() - begin;
  qsort(waits, (size_t)messages, sizeof *waits, compare);
  printf("{\"count\":%ld,\"seconds\":%f,\"p50\":%f,\"p99\":%f}\n", messages, took, waits[messages / 2] * 1e3,
         waits[messages * 99 / 100] * 1e3);
  return 0;
}
