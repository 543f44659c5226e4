#pragma once
#include <openssl/evp.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* Macros of OpenSSL, which Swift does not import. */
static inline int mailflow_SSL_CTX_configure(SSL_CTX *context) {
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  /* An idle connection holds no buffers. */
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  /* Clients keep what resumes a session, in tickets; nothing is kept here. */
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) &&
         /* Forward secrecy in TLS 1.2 too, as 1.3 always has it. */
         SSL_CTX_set_cipher_list(context, "HIGH:!aNULL:!eNULL:!kRSA:!PSK:!SRP:!DSS:!ARIA:!CAMELLIA");
}
static inline int mailflow_SSL_set_server_name(SSL *session, const char *name) {
  return (int)SSL_set_tlsext_host_name(session, name);
}
static inline EVP_PKEY *mailflow_EVP_EC_gen_P256(void) { return EVP_EC_gen("P-256"); }
static inline BIO *mailflow_BIO_new_memory(void) { return BIO_new(BIO_s_mem()); }
static inline long mailflow_BIO_get_memory(BIO *bio, char **start) { return BIO_get_mem_data(bio, start); }

/* A key with a passphrase is refused; OpenSSL would ask for it at the terminal. */
static inline int mailflow_no_passphrase(char *buffer, int size, int writing, void *context) { return 0; }
static inline void mailflow_SSL_CTX_refuse_passphrases(SSL_CTX *context) {
  SSL_CTX_set_default_passwd_cb(context, mailflow_no_passphrase);
}

/* The server's choice among the protocols that a client offers: the first of `context` (a list in wire form behind the
   octet that counts it) that is offered. None: the handshake fails (RFC 7301 section 3.2). */
static inline int mailflow_select_protocol(SSL *session, const unsigned char **chosen, unsigned char *length,
                                           const unsigned char *offered, unsigned int size, void *context) {
  const unsigned char *ours = (const unsigned char *)context;
  unsigned char *found = NULL;
  if (SSL_select_next_proto(&found, length, ours + 1, ours[0], offered, size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}
static inline void mailflow_SSL_CTX_set_protocols(SSL_CTX *context, unsigned char *list) {
  SSL_CTX_set_alpn_select_cb(context, mailflow_select_protocol, list);
}
