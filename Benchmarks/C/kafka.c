/* What kafka-bench does, in C on librdkafka, with as little as does the job:
     kafka produce SERVERS TOPIC COUNT BYTES
     kafka consume SERVERS TOPIC COUNT
     kafka hop     SERVERS SOURCE TARGET COUNT BATCH exactly-once|at-least-once
   Prints {"count", "seconds", "cpu"}; the clock starts at the first record. NAME=VALUE behind that sets a property. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PARTITIONS 24

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

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
  (void)producer, (void)opaque;
  checked("delivery", message->err);
}

static void put(rd_kafka_t *producer, rd_kafka_topic_t *topic, int partition, const void *key, size_t key_size,
                void *value, size_t size, rd_kafka_headers_t *headers) {
  while (1) {
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY(key, key_size),
        RD_KAFKA_V_VALUE(value, size), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (!error) return;
    if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) checked("produce", error);
    rd_kafka_poll(producer, 10);
  }
}

static void produce(const char *servers, const char *name, long count, size_t size) {
  const char *settings[] = {"enable.idempotence", "true", "acks", "all", "linger.ms", "0", NULL};
  rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, servers, settings, on_delivery);
  rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, name, NULL);
  char *value = malloc(size);
  for (size_t index = 0; index < size; index++) value[index] = (char)(index * 31);
  const char *names[] = {"id", "sender", "received"};
  start();
  for (long index = 0; index < count; index++) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(3);
    for (int one = 0; one < 3; one++) rd_kafka_header_add(headers, names[one], -1, "0123456789abcdef", 16);
    char key[24];
    int length = snprintf(key, sizeof key, "%ld", index);
    put(producer, topic, (int)(index % PARTITIONS), key, (size_t)length, value, size, headers);
    /* As many at once as one of our calls has. */
    if (index % 5000 == 4999) checked("flush", rd_kafka_flush(producer, 30000));
  }
  checked("flush", rd_kafka_flush(producer, 30000));
  report(count);
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

static void hop(const char *servers, const char *source, const char *target, long count, long limit, int is_exact) {
  char id[128];
  snprintf(id, sizeof id, "c-%s", target);
  const char *exact[] = {"transactional.id", id, "linger.ms", "0", "retry.backoff.ms", "2",
                         "delivery.report.only.error", "true", NULL};
  const char *least[] = {"enable.idempotence", "true", "acks", "all", "linger.ms", "0",
                         "delivery.report.only.error", "true", NULL};
  rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, servers, is_exact ? exact : least, on_delivery);
  if (is_exact) check("init", rd_kafka_init_transactions(producer, 30000));
  rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, target, NULL);
  rd_kafka_t *from = consumer(servers, source);
  rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(from);
  rd_kafka_message_t **batch = malloc((size_t)limit * sizeof *batch);
  long done = 0;
  while (done < count) {
    long taken = take(queue, batch, limit);
    if (!taken) continue;
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(PARTITIONS);
    if (is_exact) check("begin", rd_kafka_begin_transaction(producer));
    for (long index = 0; index < taken; index++) {
      rd_kafka_message_t *message = batch[index];
      if (message->err) fail("consume", rd_kafka_message_errstr(message));
      rd_kafka_headers_t *headers, *copy;
      checked("headers", rd_kafka_message_headers(message, &headers));
      copy = rd_kafka_headers_copy(headers);
      rd_kafka_header_add(copy, "hop-id", -1, "0123456789abcdef", 16);
      rd_kafka_header_add(copy, "hop-stage", -1, "filter", 6);
      rd_kafka_header_add(copy, "hop-time", -1, "1790000000000", 13);
      put(producer, topic, message->partition, message->key, message->key_len, message->payload, message->len, copy);
      rd_kafka_topic_partition_t *place = rd_kafka_topic_partition_list_find(offsets, source, message->partition);
      if (!place) place = rd_kafka_topic_partition_list_add(offsets, source, message->partition);
      place->offset = message->offset + 1;
    }
    if (is_exact) {
      rd_kafka_consumer_group_metadata_t *member = rd_kafka_consumer_group_metadata(from);
      check("offsets", rd_kafka_send_offsets_to_transaction(producer, offsets, member, 30000));
      check("commit", rd_kafka_commit_transaction(producer, 30000));
      rd_kafka_consumer_group_metadata_destroy(member);
    } else {
      checked("flush", rd_kafka_flush(producer, 30000));
      checked("commit", rd_kafka_commit(from, offsets, 0));
    }
    rd_kafka_topic_partition_list_destroy(offsets);
    for (long index = 0; index < taken; index++) rd_kafka_message_destroy(batch[index]);
    done += taken;
    hops++;
  }
  report(done);
  rd_kafka_queue_destroy(queue);
  rd_kafka_consumer_close(from);
}

int main(int argc, char **argv) {
  srand((unsigned)time(NULL));
  int plain = 1;
  while (plain < argc && !strchr(argv[plain], '=')) plain++;
  properties = argv + plain;
  if (plain == 6 && !strcmp(argv[1], "produce")) produce(argv[2], argv[3], atol(argv[4]), (size_t)atol(argv[5]));
  else if (plain == 5 && !strcmp(argv[1], "consume")) consume(argv[2], argv[3], atol(argv[4]));
  else if (plain == 8 && !strcmp(argv[1], "hop"))
    hop(argv[2], argv[3], argv[4], atol(argv[5]), atol(argv[6]), !strcmp(argv[7], "exactly-once"));
  else fail("usage", "produce|consume|hop, see above");
  return 0;
}
