/*
 * proxy/hba.h - auth_hba_file: local, host, hostssl, hostnossl; database and user lists with all,
 * sameuser, replication and quoted names; addresses in CIDR or with a mask, "all"; map= for peer
 * and cert (proxy/ident.h).
 */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

struct herd_hba;
int herd_hba_load(const char *path, struct herd_hba **ret, struct herd_err *err);
void herd_hba_free(struct herd_hba *h);
/*
 * The method (enum herd_auth); HERD_AUTH_REJECT when no line fits. Unix sockets: sa family AF_UNIX.
 * *map is the line's map of names (methods peer and cert) or NULL; it lives as long as h.
 */
int herd_hba_find(const struct herd_hba *h, const struct sockaddr *sa, bool tls, bool replication,
		  const char *database, const char *user, const char **map);
