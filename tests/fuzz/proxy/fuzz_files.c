/* libFuzzer: the files of the proxy. The first byte picks the reader: ini, hba, ident, a list of
 * words. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "proxy/config.h"
#include "proxy/hba.h"
#include "proxy/ident.h"
#include "proxy/settings.h"
#include "proxy/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_ini(const char *path)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_pconf *c = NULL, *other = NULL;

	if (herd_pconf_load(path, &c, &err) == 0) {
		herd_pconf_database(c, "db");
		herd_pconf_user(c, "someone");
		if (herd_pconf_set(c, path, "default_pool_size", "7", &other, &err) == 0)
			herd_pconf_unref(other);
		herd_pconf_unref(c);
	}
	herd_err_clear(&err);
}

static void read_hba(const char *path)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr un = { .sa_family = AF_UNIX };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_hba *h = NULL;

	if (herd_hba_load(path, &h, &err) == 0) {
		herd_hba_find(h, (struct sockaddr *)&in, true, false, "db", "someone",
			      "a.example.com");
		herd_hba_find(h, (struct sockaddr *)&in6, false, true, "db", "db", NULL);
		herd_hba_find(h, &un, false, false, "", "", "");
		herd_hba_free(h);
	}
	herd_err_clear(&err);
}

static void read_ident(const char *path)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_ident *i = NULL;

	if (herd_ident_load(path, &i, &err) == 0) {
		herd_ident_may(i, "map", "someone", "db");
		herd_ident_free(i);
	}
	herd_err_clear(&err);
}

static void read_words(const char *text)
{
	struct herd_words w;
	int64_t time;
	int mode;

	herd_settings_time(text, &time);
	herd_settings_mode(text, &mode);
	herd_settings_auth(text, &mode);
	herd_pconf_in_list(text, "name");
	while (herd_words_next(&text, &w) == 0 && w.n > 0) {
		herd_words_have(&w, "all", true);
		herd_words_only(&w);
		herd_words_free(&w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char path[64];
	char *text;
	int fd;

	if (n == 0)
		return 0;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data + 1, n - 1) != (ssize_t)n - 1)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	switch (data[0] % 4) {
	case 0:
		read_ini(path);
		break;
	case 1:
		read_hba(path);
		break;
	case 2:
		read_ident(path);
		break;
	default:
		text = strndup((const char *)data + 1, n - 1);
		read_words(text);
		free(text);
	}
	close(fd);
	return 0;
}
