#pragma once
/* Before event-config.h, which defines _GNU_SOURCE: else fd_set differs from the Glibc module and debug builds fail. */
#include <sys/types.h>
#include <event2/event.h>
