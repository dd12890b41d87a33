#include "demo/layout.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"

enum { MAX_WORKERS = 32, MAX_REPLICAS = 8 };

char *demo_path(const struct demo *d, const char *fmt, ...)
{
	va_list ap;
	char *rest, *path;

	va_start(ap, fmt);
	int n = vasprintf(&rest, fmt, ap);
	va_end(ap);
	if (n < 0 || asprintf(&path, "%s/%s", d->dir, rest) < 0) {
		fputs("pgherd demo: out of memory\n", stderr);
		exit(1);
	}
	free(rest);
	return path;
}

static int add_member(struct demo *d, int group, int number)
{
	size_t i = d->nmembers;
	struct demo_member *m = &d->members[i];

	m->name = group == 0 ? herd_str_printf("coord%d", number)
			     : herd_str_printf("work%d-%d", group, number);
	if (!m->name)
		return -ENOMEM;
	m->group = group;
	m->pg_port = d->base_port + DEMO_PORT_MEMBERS + 2 * (int)i;
	m->rest_port = m->pg_port + 1;
	d->nmembers++;
	return 0;
}

int demo_layout_members(struct demo *d, struct herd_err *err)
{
	if (d->workers < 1 || d->workers > MAX_WORKERS)
		return herd_err_set(err, -EINVAL, "number of workers must be from 1 to %d",
				    MAX_WORKERS);
	if (d->replicas < 1 || d->replicas > MAX_REPLICAS)
		return herd_err_set(err, -EINVAL,
				    "number of members of a worker group must be from 1 to %d",
				    MAX_REPLICAS);
	size_t total = (size_t)(d->replicas + 1 + d->workers * d->replicas);

	if (d->base_port < 1024 || d->base_port + DEMO_PORT_MEMBERS + 2 * (int)total > 65535)
		return herd_err_set(err, -EINVAL,
				    "base port %d is out of range: %zu ports from it are needed",
				    d->base_port, DEMO_PORT_MEMBERS + 2 * total);
	d->members = calloc(total, sizeof(*d->members));
	if (!d->members)
		return herd_err_set(err, -ENOMEM, "out of memory");
	for (int group = 0; group <= d->workers; group++) {
		int n = group == 0 ? d->replicas + 1 : d->replicas;

		for (int i = 1; i <= n; i++) {
			if (add_member(d, group, i) < 0)
				return herd_err_set(err, -ENOMEM, "out of memory");
		}
	}
	return 0;
}

int demo_write_file(const char *path, const char *text, struct herd_err *err)
{
	char *tmp = herd_str_printf("%s.tmp", path);
	size_t len = strlen(text);
	int rc = 0;

	if (!tmp)
		return herd_err_set(err, -ENOMEM, "out of memory");
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) < 0 ||
	    rename(tmp, path) < 0)
		rc = herd_err_set(err, -errno, "could not write file \"%s\": %s", path,
				  strerror(errno));
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		unlink(tmp);
	free(tmp);
	return rc;
}

int demo_layout_save(const struct demo *d, struct herd_err *err)
{
	char *path = demo_path(d, "demo.json");
	json_t *v = json_pack("{s:i, s:i, s:i, s:s, s:s}", "base_port", d->base_port, "workers",
			      d->workers, "replicas", d->replicas, "bin_dir", d->bin_dir,
			      "password", d->password);
	char *text = v ? herd_json_dump(v) : NULL;
	int rc = text ? demo_write_file(path, text, err)
		      : herd_err_set(err, -ENOMEM, "out of memory");

	free(text);
	json_decref(v);
	free(path);
	return rc;
}

static int read_fields(struct demo *d, const json_t *v, const char *path, struct herd_err *err)
{
	d->base_port = (int)herd_json_i64(v, "base_port", 0);
	d->workers = (int)herd_json_i64(v, "workers", 0);
	d->replicas = (int)herd_json_i64(v, "replicas", 0);
	if (!herd_str_set(&d->bin_dir, herd_json_str(v, "bin_dir", NULL)) ||
	    !herd_str_set(&d->password, herd_json_str(v, "password", NULL)))
		return herd_err_set(err, -ENOMEM, "out of memory");
	if (!d->bin_dir || !d->password) {
		herd_err_set(err, -EINVAL, "file \"%s\" is damaged", path);
		herd_err_hint(err, "Remove the directory, or run: pgherd demo destroy");
		return -EINVAL;
	}
	return demo_layout_members(d, err);
}

int demo_layout_load(struct demo *d, struct herd_err *err)
{
	char *path = demo_path(d, "demo.json");
	json_error_t je;

	if (access(path, F_OK) < 0) {
		int rc = herd_err_set(err, -errno, "there is no demo herd in \"%s\"", d->dir);

		herd_err_hint(err, "Start one with: ./demo");
		free(path);
		return rc;
	}
	json_t *v = json_load_file(path, JSON_REJECT_DUPLICATES, &je);
	int rc = v ? read_fields(d, v, path, err)
		   : herd_err_set(err, -EINVAL, "could not read file \"%s\": %s", path, je.text);

	json_decref(v);
	free(path);
	return rc;
}

void demo_layout_free(struct demo *d)
{
	for (size_t i = 0; i < d->nmembers; i++)
		free(d->members[i].name);
	free(d->members);
	free(d->dir);
	free(d->exe);
	free(d->bin_dir);
	if (d->password)
		herd_str_wipe(d->password, strlen(d->password));
	free(d->password);
}
