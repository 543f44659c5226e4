/* What kafka-bench does, in C on librdkafka, with as little as does the job:
     kafka produce SERVERS TOPIC COUNT BYTES
     kafka consume SERVERS TOPIC COUNT
     kafka single  SERVERS TOPIC COUNT CALLERS BYTES      CALLERS records wait for their reports at any time
     kafka hop     SERVERS SOURCE TARGET COUNT BATCH exactly-once|at-least-once
     kafka latency SERVERS SOURCE TARGET COUNT exactly-once|at-least-once   100 a second, one hop
   Prints {"count", "seconds", "cpu"} and, in milliseconds, "p50" and "p99" where time counts; the clock starts at the
   first record. NAME=VALUE behind that sets a property. */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PARTITIONS 24
/* Producers that take turns with transactions where time counts, as ours do. */
#define TURNS 3

static char text[512];
static char **properties;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(const char *what, rd_kafka_error_t *error) {
  if (error) fail(what, rd_kafka_error_string(error));
}

static void checked(const char *what, rd_kafka_resp_err_t error) {
  if (error) fail(what, rd_kafka_err2str(error));
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *servers, const char *const *settings,
                          void (*delivered)(rd_kafka_t *, const rd_kafka_message_t *, void *)) {
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", servers, text, sizeof text);
  for (; settings[0]; settings += 2)
    if (rd_kafka_conf_set(conf, settings[0], settings[1], text, sizeof text)) fail(settings[0], text);
  for (char **one = properties; *one; one++) {
    char *value = strchr(*one, '=');
    if (!value) fail(*one, "NAME=VALUE");
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)(value - *one), *one);
    if (rd_kafka_conf_set(conf, name, value + 1, text, sizeof text)) fail(name, text);
  }
  if (delivered) rd_kafka_conf_set_dr_msg_cb(conf, delivered);
  rd_kafka_t *made = rd_kafka_new(type, conf, text, sizeof text);
  if (!made) fail("client", text);
  return made;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double wall_start, cpu_start;
static void start(void) { wall_start = seconds(), cpu_start = cpu(); }
static long hops;
static void report(long count) {
  printf("{\"count\":%ld,\"seconds\":%f,\"cpu\":%f,\"hops\":%ld}\n", count, seconds() - wall_start, cpu() - cpu_start,
         hops);
}

static double *accepted, *waits; /* seconds */
static long waited;

static int compare(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return a < b ? -1 : a > b;
}

static void report_waits(long count) {
  qsort(waits, (size_t)waited, sizeof *waits, compare);
  printf("{\"count\":%ld,\"seconds\":%f,\"cpu\":%f,\"p50\":%f,\"p99\":%f}\n", count, seconds() - wall_start,
         cpu() - cpu_start, waits[waited / 2] * 1e3, waits[waited * 99 / 100] * 1e3);
}

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
  (void)producer, (void)opaque;
  checked("delivery", message->err);
}

static void on_answer(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
  on_delivery(producer, message, opaque);
  waits[waited++] = seconds() - accepted[(long)message->_private];
}

static void put(rd_kafka_t *producer, rd_kafka_topic_t *topic, int partition, const void *key, size_t key_size,
                void *value, size_t size, rd_kafka_headers_t *headers, void *mark) {
  while (1) {
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY(key, key_size),
        RD_KAFKA_V_VALUE(value, size), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(mark),
        RD_KAFKA_V_END);
    if (!error) return;
    if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) checked("produce", error);
    rd_kafka_poll(producer, 10);
  }
}

static const char *const appending[] = {"enable.idempotence", "true", "acks", "all", "linger.ms", "0", NULL};

static void *bytes(size_t size) {
  char *value = malloc(size);
  for (size_t index = 0; index < size; index++) value[index] = (char)(index * 31);
  return value;
}

/* A record of number `index`, with three headers. */
static void put_new(rd_kafka_t *producer, rd_kafka_topic_t *topic, long index, void *value, size_t size) {
  static const char *const names[] = {"id", "sender", "received"};
  rd_kafka_headers_t *headers = rd_kafka_headers_new(3);
  for (int one = 0; one < 3; one++) rd_kafka_header_add(headers, names[one], -1, "0123456789abcdef", 16);
  char key[24];
  int length = snprintf(key, sizeof key, "%ld", index);
  put(producer, topic, (int)(index % PARTITIONS), key, (size_t)length, value, size, headers, (void *)index);
}

static void produce(const char *servers, const char *name, long count, size_t size) {
  rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, servers, appending, on_delivery);
  rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, name, NULL);
  void *value = bytes(size);
  start();
  for (long index = 0; index < count; index++) {
    put_new(producer, topic, index, value, size);
    /* As many at once as one of our calls has. */
    if (index % 5000 == 4999) checked("flush", rd_kafka_flush(producer, 30000));
  }
  checked("flush", rd_kafka_flush(producer, 30000));
  report(count);
}

/* Each caller's next record is sent when its last one was reported. */
static void single(const char *servers, const char *name, long count, long callers, size_t size) {
  rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, servers, appending, on_answer);
  rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, name, NULL);
  void *value = bytes(size);
  accepted = malloc((size_t)(count + 1) * sizeof *accepted), waits = malloc((size_t)(count + 1) * sizeof *waits);
  start();
  for (long sent = 0; waited < count;) {
    for (; sent < count && sent - waited < callers; sent++) {
      accepted[sent] = seconds();
      put_new(producer, topic, sent, value, size);
    }
    rd_kafka_poll(producer, 100);
  }
  report_waits(count);
}

static rd_kafka_t *consumer(const char *servers, const char *topic) {
  char group[64];
  snprintf(group, sizeof group, "c-%d-%ld", rand(), (long)(seconds() * 1e6));
  const char *settings[] = {"group.id", group, "enable.auto.commit", "false", "auto.offset.reset", "earliest",
                            "isolation.level", "read_committed", NULL};
  rd_kafka_t *made = client(RD_KAFKA_CONSUMER, servers, settings, NULL);
  rd_kafka_poll_set_consumer(made);
  rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
  checked("subscribe", rd_kafka_subscribe(made, topics));
  return made;
}

/* The first alone, so that nothing waits for a batch to fill; then what there is. */
static long take(rd_kafka_queue_t *queue, rd_kafka_message_t **batch, long limit) {
  if (rd_kafka_consume_batch_queue(queue, 1000, batch, 1) != 1) return 0;
  if (!wall_start) start();
  long more = rd_kafka_consume_batch_queue(queue, 0, batch + 1, (size_t)(limit - 1));
  return 1 + (more > 0 ? more : 0);
}

static void consume(const char *servers, const char *topic, long count) {
  rd_kafka_t *from = consumer(servers, topic);
  rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(from);
  rd_kafka_message_t *batch[2000];
  long done = 0, sum = 0;
  while (done < count) {
    long taken = take(queue, batch, 2000);
    for (long index = 0; index < taken; index++) {
      if (batch[index]->err) fail("consume", rd_kafka_message_errstr(batch[index]));
      rd_kafka_headers_t *headers;
      const void *value;
      size_t size;
      if (!rd_kafka_message_headers(batch[index], &headers) &&
          !rd_kafka_header_get_last(headers, "sender", &value, &size))
        sum += (long)size;
      sum += ((char *)batch[index]->payload)[0];
      rd_kafka_message_destroy(batch[index]);
    }
    done += taken;
  }
  if (!sum) fail("consume", "nothing was read");
  report(done);
  rd_kafka_queue_destroy(queue);
  rd_kafka_consumer_close(from);
}

/* What passes records on: one producer with transactions, or several in turn; or one without. */
struct hop {
  rd_kafka_t *producers[TURNS], *from;
  rd_kafka_topic_t *topics[TURNS];
  rd_kafka_queue_t *queue;
  const char *source;
  rd_kafka_message_t **batch;
  long limit;
  int is_exact, turns, turn;
};

static struct hop *make_hop(const char *servers, const char *source, const char *target, long limit, int is_exact,
                            int turns) {
  struct hop *hop = calloc(1, sizeof *hop);
  hop->is_exact = is_exact, hop->turns = is_exact ? turns : 1, hop->limit = limit, hop->source = source;
  for (int one = 0; one < hop->turns; one++) {
    char id[128];
    snprintf(id, sizeof id, "c-%s-%d", target, one);
    /* Every record is reported: without that, librdkafka's flush looks every 10 ms whether all are written. */
    const char *exact[] = {"transactional.id", id, "linger.ms", "0", "retry.backoff.ms", "2", NULL};
    const char *least[] = {"enable.idempotence", "true", "acks", "all", "linger.ms", "0", NULL};
    hop->producers[one] = client(RD_KAFKA_PRODUCER, servers, is_exact ? exact : least, on_delivery);
    if (is_exact) check("init", rd_kafka_init_transactions(hop->producers[one], 30000));
    hop->topics[one] = rd_kafka_topic_new(hop->producers[one], target, NULL);
  }
  hop->from = consumer(servers, source);
  hop->queue = rd_kafka_queue_get_consumer(hop->from);
  hop->batch = malloc((size_t)limit * sizeof *hop->batch);
  return hop;
}

/* Takes what there is and passes it on: a hop. Returns how many records. */
static long pass(struct hop *hop) {
  long taken = take(hop->queue, hop->batch, hop->limit);
  if (!taken) return 0;
  rd_kafka_t *producer = hop->producers[hop->turn];
  rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(PARTITIONS);
  if (hop->is_exact) check("begin", rd_kafka_begin_transaction(producer));
  for (long index = 0; index < taken; index++) {
    rd_kafka_message_t *message = hop->batch[index];
    if (message->err) fail("consume", rd_kafka_message_errstr(message));
    rd_kafka_headers_t *headers, *copy;
    checked("headers", rd_kafka_message_headers(message, &headers));
    copy = rd_kafka_headers_copy(headers);
    rd_kafka_header_add(copy, "hop-id", -1, "0123456789abcdef", 16);
    rd_kafka_header_add(copy, "hop-stage", -1, "filter", 6);
    rd_kafka_header_add(copy, "hop-time", -1, "1790000000000", 13);
    put(producer, hop->topics[hop->turn], message->partition, message->key, message->key_len, message->payload,
        message->len, copy, NULL);
    rd_kafka_topic_partition_t *place = rd_kafka_topic_partition_list_find(offsets, hop->source, message->partition);
    if (!place) place = rd_kafka_topic_partition_list_add(offsets, hop->source, message->partition);
    place->offset = message->offset + 1;
  }
  if (hop->is_exact) {
    rd_kafka_consumer_group_metadata_t *member = rd_kafka_consumer_group_metadata(hop->from);
    check("offsets", rd_kafka_send_offsets_to_transaction(producer, offsets, member, 30000));
    check("commit", rd_kafka_commit_transaction(producer, 30000));
    rd_kafka_consumer_group_metadata_destroy(member);
  } else {
    checked("flush", rd_kafka_flush(producer, 30000));
    checked("commit", rd_kafka_commit(hop->from, offsets, 0));
  }
  rd_kafka_topic_partition_list_destroy(offsets);
  for (long index = 0; index < taken; index++) rd_kafka_message_destroy(hop->batch[index]);
  hop->turn = (hop->turn + 1) % hop->turns;
  hops++;
  return taken;
}

static void run_hop(const char *servers, const char *source, const char *target, long count, long limit,
                    int is_exact) {
  struct hop *hop = make_hop(servers, source, target, limit, is_exact, 1);
  long done = 0;
  while (done < count) done += pass(hop);
  report(done);
  rd_kafka_queue_destroy(hop->queue);
  rd_kafka_consumer_close(hop->from);
}

static void *pass_for_ever(void *hop) {
  while (1) pass(hop);
  return NULL;
}

static void on_accepted(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
  on_delivery(producer, message, opaque);
  accepted[(long)message->_private] = seconds();
}

struct sending {
  rd_kafka_t *producer;
  rd_kafka_topic_t *topic;
  long count;
};

static void *send_slowly(void *argument) {
  struct sending *sending = argument;
  void *value = bytes(1024);
  double begin = seconds();
  for (long index = 0; index < sending->count; index++) {
    put_new(sending->producer, sending->topic, index, value, 1024);
    double pause = begin + (double)(index + 1) / 100 - seconds();
    do rd_kafka_poll(sending->producer, pause > 0 ? (int)(pause * 1e3) + 1 : 0);
    while ((pause = begin + (double)(index + 1) / 100 - seconds()) > 0);
  }
  checked("flush", rd_kafka_flush(sending->producer, 30000));
  return NULL;
}

/* From the report of a record at the source until whoever reads the target has it. The first second is not counted. */
static void latency(const char *servers, const char *source, const char *target, long count, int is_exact) {
  accepted = calloc((size_t)count, sizeof *accepted), waits = malloc((size_t)count * sizeof *waits);
  double *arrived = calloc((size_t)count, sizeof *arrived);
  rd_kafka_t *reader = consumer(servers, target);
  rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(reader);
  struct sending sending = {client(RD_KAFKA_PRODUCER, servers, appending, on_accepted), NULL, count};
  sending.topic = rd_kafka_topic_new(sending.producer, source, NULL);
  pthread_t passing, sender;
  start();
  pthread_create(&passing, NULL, pass_for_ever, make_hop(servers, source, target, 100, is_exact, TURNS));
  pthread_create(&sender, NULL, send_slowly, &sending);
  rd_kafka_message_t *batch[100];
  for (long done = 0; done < count;) {
    long taken = take(queue, batch, 100);
    double now = seconds();
    for (long index = 0; index < taken; index++) {
      if (batch[index]->err) fail("consume", rd_kafka_message_errstr(batch[index]));
      char key[24] = "";
      memcpy(key, batch[index]->key, batch[index]->key_len < sizeof key ? batch[index]->key_len : 0);
      arrived[atol(key) % count] = now;
      rd_kafka_message_destroy(batch[index]);
    }
    done += taken;
  }
  pthread_join(sender, NULL);
  for (long index = 100; index < count; index++) waits[waited++] = arrived[index] - accepted[index];
  report_waits(count);
  exit(0);
}

int main(int argc, char **argv) {
  srand((unsigned)time(NULL));
  int plain = 1;
  while (plain < argc && !strchr(argv[plain], '=')) plain++;
  properties = argv + plain;
  if (plain == 6 && !strcmp(argv[1], "produce")) produce(argv[2], argv[3], atol(argv[4]), (size_t)atol(argv[5]));
  else if (plain == 5 && !strcmp(argv[1], "consume")) consume(argv[2], argv[3], atol(argv[4]));
  else if (plain == 8 && !strcmp(argv[1], "hop"))
    run_hop(argv[2], argv[3], argv[4], atol(argv[5]), atol(argv[6]), !strcmp(argv[7], "exactly-once"));
  else if (plain == 7 && !strcmp(argv[1], "single"))
    single(argv[2], argv[3], atol(argv[4]), atol(argv[5]), (size_t)atol(argv[6]));
  else if (plain == 7 && !strcmp(argv[1], "latency"))
    latency(argv[2], argv[3], argv[4], atol(argv[5]), !strcmp(argv[6], "exactly-once"));
  else fail("usage", "produce|single|consume|hop|latency, see above");
  return 0;
}
