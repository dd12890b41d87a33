/*
 * proxy/login.h - what the parts of a client's login share: startup (login.c), its parameters
 * (params.c) and authentication (auth.c).
 */
#pragma once
#include "proxy/client.h"
#include "wire/auth.h"
#include "wire/startup.h"

struct herd_ldap;
struct herd_extauth;
struct herd_hostname;

enum { AUTH_OK = 0, AUTH_CLEAR = 3, AUTH_MD5 = 5, AUTH_SASL = 10, AUTH_SASL_MORE, AUTH_SASL_END };

struct herd_login {
	int method;                   /* enum herd_auth */
	bool admin;                   /* for the console */
	bool no_user;                 /* unknown: goes through the motions and fails */
	bool no_db;                   /* there is no such database */
	bool asked;                   /* auth_query had the last word on that */
	char *map;                    /* of names, from the line of the hba file; NULL: none */
	const struct herd_ldap *ldap; /* of method ldap, belongs to config */
	struct herd_pconf *config;
	struct herd_extauth *ext;     /* under way; NULL: nothing is asked outside */
	bool no_line;                 /* no line of the hba file fits */
	struct herd_hostname *naming; /* under way; NULL: not */
	char *host;                   /* name of its address (hba.h); NULL: not asked for */
	char *secret;                 /* what is on record; NULL: nothing */
	uint8_t salt[4];
	bool scram; /* SCRAM is under way */
	bool scram_first_done;
	struct herd_scram_secret scram_secret;
	struct herd_scram_server scram_server;
	char *session_attrs; /* target_session_attrs, as an option of the startup packet */
	bool have_keys;
	struct herd_scram_keys keys;
	char *password;       /* as the client sent it in clear */
	struct herd_buf said; /* goes out with what is said next: the greeting, mostly */
};

/* params.c: the parameters of the startup packet. False when the login has failed. */
bool herd_login_parameters(struct herd_client *c, const struct herd_startup *s);
/* auth.c: finds what is on record for the user and asks it to prove who it is. */
void herd_auth_begin(struct herd_client *c);
/* Before it is known how it ends: who fails is looked for in the log, too. */
void herd_auth_log(struct herd_client *c);
/* login.c: it has been logged in, in another process: counted in, not greeted. False: cannot be. */
bool herd_login_resume(struct herd_client *c, bool console);
/* login.c: the client is who it says it is. */
void herd_login_authentic(struct herd_client *c);
