/*
 * proxy/hba.h - auth_hba_file: local, host, hostssl, hostnossl; database and user lists with all,
 * sameuser, replication, @file and quoted names; addresses in CIDR or with a mask, "all", samehost
 * and samenet (the machine's own addresses and nets, as they are at each login), host names; map=
 * for peer and cert (proxy/ident.h). No groups (+name): a line with one is refused.
 */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

struct herd_hba;
struct herd_ldap;
int herd_hba_load(const char *path, struct herd_hba **ret, struct herd_err *err);
void herd_hba_free(struct herd_hba *h);
/* What the line says; map and ldap live as long as the hba. */
struct herd_hba_answer {
	int method;             /* enum herd_auth; HERD_AUTH_REJECT when no line fits */
	const char *map;        /* of names (methods peer and cert) or NULL */
	struct herd_ldap *ldap; /* of method ldap */
	bool no_line;           /* the method is REJECT since no line fits */
	bool asks_name;         /* a line with a host name may fit: find that out, and ask again */
};

/*
 * Unix sockets: sa family AF_UNIX. replication: a physical one. host: the name of the client's
 * address, as its own address confirms; "": it has none; NULL: not known yet.
 */
struct herd_hba_answer herd_hba_find(const struct herd_hba *h, const struct sockaddr *sa, bool tls,
				     bool replication, const char *database, const char *user,
				     const char *host);
