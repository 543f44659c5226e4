#pragma once
#include <sys/types.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <signal.h>
#include <stdio.h>
/* Only with _GNU_SOURCE, which the Glibc module lacks. */
extern int accept4(int, struct sockaddr *, socklen_t *, int);
static inline int clinux_accept(int fd, struct sockaddr *address, socklen_t *length) { return accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC); }
static inline int clinux_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }
static inline int clinux_signalfd(const sigset_t *set) { return signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC); }
static inline int clinux_inotify(void) { return inotify_init1(IN_NONBLOCK | IN_CLOEXEC); }
static inline int clinux_die_with_parent(int signal) { return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0); }
static inline ssize_t clinux_sendfile(int socket, int file, off_t *offset, size_t count) { return sendfile(socket, file, offset, count); }
/* Unless a thread is held up in the middle of printing: it would be waited for. */
static inline void clinux_flush_output(void) {
  if (ftrylockfile(stdout)) return;
  fflush(stdout);
  funlockfile(stdout);
}
