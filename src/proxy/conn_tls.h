/*
 * proxy/conn_tls.h - the TLS half of proxy/conn.h: OpenSSL between us and the socket.
 *
 * OpenSSL reads and writes through us, not through the descriptor: one recv takes all records that
 * are there, a socket known to be empty is not asked, and sealed records can wait in the batch.
 */
#pragma once
#include "proxy/conn.h"

/* Puts us between c->tls and its socket, once. 0 or -ENOMEM. */
int herd_conn_tls_prepare(struct herd_conn *c);
/* As herd_conn_read. */
ssize_t herd_conn_tls_read(struct herd_conn *c, void *data, size_t n);
/* > 0: bytes of data that were taken; negative errno. */
ssize_t herd_conn_tls_write(struct herd_conn *c, const void *data, size_t n);
/* As herd_conn_sent, of sealed records. */
void herd_conn_tls_sent(struct herd_conn *c, const void *data, size_t n, ssize_t put);
/* Sends the sealed records that are kept. True when none is left. */
bool herd_conn_tls_flush(struct herd_conn *c);
/* The server agreed to what c->asked was made for. */
void herd_conn_agreed(struct herd_conn *c);
void herd_conn_tls_close(struct herd_conn *c);
