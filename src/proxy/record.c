/* Records between two processes, with descriptors beside them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/handover.h"
#include "wire/msg.h"

enum { HEAD_BYTES = 5, MAX_RECORD_BYTES = 256 << 20 };

struct herd_record *herd_record_new(uint8_t type)
{
	struct herd_record *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->type = type;
	herd_list_init(&r->node);
	return r;
}

void herd_record_free(struct herd_record *r)
{
	if (!r)
		return;
	for (int i = 0; i < r->nfds; i++) {
		if (r->fds[i] >= 0)
			close(r->fds[i]);
	}
	/* Secrets of pools travel in these. */
	if (r->fields.data)
		explicit_bzero(r->fields.data, r->fields.cap);
	herd_buf_free(&r->fields);
	free(r);
}

void herd_record_add(struct herd_record *r, const char *name, const void *data, size_t n)
{
	herd_wr_str(&r->fields, name);
	herd_wr_u32(&r->fields, (uint32_t)n);
	herd_buf_add(&r->fields, data, n);
	herd_buf_addc(&r->fields, '\0');
}

void herd_record_text(struct herd_record *r, const char *name, const char *text)
{
	if (text)
		herd_record_add(r, name, text, strlen(text));
}

void herd_record_number(struct herd_record *r, const char *name, int64_t v)
{
	uint8_t b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)((uint64_t)v >> (56 - 8 * i));
	herd_record_add(r, name, b, sizeof(b));
}

void herd_record_fd(struct herd_record *r, int fd)
{
	if (r->nfds < HERD_RECORD_FDS)
		r->fds[r->nfds++] = fd;
	else
		close(fd);
}

bool herd_record_next(const struct herd_record *r, size_t *pos, struct herd_field *ret)
{
	struct herd_rd rd = herd_rd_init(herd_buf_str(&r->fields) + *pos, r->fields.len - *pos);

	if (herd_rd_left(&rd) == 0)
		return false;
	ret->name = herd_rd_str(&rd);
	ret->n = herd_rd_u32(&rd);
	ret->data = herd_rd_bytes(&rd, ret->n);
	if (herd_rd_u8(&rd) != 0 || !herd_rd_ok(&rd) || !ret->data)
		return false;
	*pos = r->fields.len - herd_rd_left(&rd);
	return true;
}

bool herd_record_find(const struct herd_record *r, const char *name, struct herd_field *ret)
{
	size_t pos = 0;

	while (herd_record_next(r, &pos, ret)) {
		if (strcmp(ret->name, name) == 0)
			return true;
	}
	return false;
}

int64_t herd_field_number(const struct herd_field *f)
{
	uint64_t v = 0;

	for (size_t i = 0; i < 8 && f->n == 8; i++)
		v = v << 8 | (uint8_t)f->data[i];
	return (int64_t)v;
}

int64_t herd_record_get(const struct herd_record *r, const char *name, int64_t fallback)
{
	struct herd_field f;

	return herd_record_find(r, name, &f) ? herd_field_number(&f) : fallback;
}

const char *herd_record_str(const struct herd_record *r, const char *name)
{
	struct herd_field f;

	return herd_record_find(r, name, &f) ? f.data : NULL;
}

static int send_all(int sock, struct msghdr *m)
{
	while (m->msg_iovlen > 0) {
		ssize_t n = sendmsg(sock, m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* The descriptors went with the first byte. */
		m->msg_control = NULL;
		m->msg_controllen = 0;
		while (m->msg_iovlen > 0 && (size_t)n >= m->msg_iov->iov_len) {
			n -= (ssize_t)m->msg_iov->iov_len;
			m->msg_iov++;
			m->msg_iovlen--;
		}
		if (m->msg_iovlen > 0) {
			m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + n;
			m->msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int herd_record_send(int sock, const struct herd_record *r)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int) * HERD_RECORD_FDS)];
	} control;
	uint8_t head[HEAD_BYTES];
	struct iovec iov[2] = { { head, HEAD_BYTES }, { r->fields.data, r->fields.len } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = r->fields.len > 0 ? 2 : 1 };

	if (!herd_buf_ok(&r->fields) || r->fields.len > MAX_RECORD_BYTES)
		return -ENOMEM;
	for (int i = 0; i < 4; i++)
		head[i] = (uint8_t)(r->fields.len >> (24 - 8 * i));
	head[4] = r->type;
	if (r->nfds > 0) {
		memset(&control, 0, sizeof(control));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)r->nfds);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)r->nfds);
		memcpy(CMSG_DATA(&control.head), r->fds, sizeof(int) * (size_t)r->nfds);
	}
	return send_all(sock, &m);
}

static void take_fds(struct msghdr *m, struct herd_record *r)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			herd_record_fd(r, fd);
		}
	}
}

/* Exactly n bytes; descriptors that come with them go to r. */
static int recv_all(int sock, char *to, size_t n, struct herd_record *r)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int) * HERD_RECORD_FDS)];
	} control;

	while (n > 0) {
		struct iovec iov = { to, n };
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = &control,
				    .msg_controllen = sizeof(control) };
		ssize_t got = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		take_fds(&m, r);
		if (got == 0)
			return -EPIPE;
		to += got;
		n -= (size_t)got;
	}
	return 0;
}

int herd_record_recv(int sock, struct herd_record **ret)
{
	struct herd_record *r = herd_record_new(0);
	uint8_t head[HEAD_BYTES];
	uint32_t len = 0;
	int rc = r ? recv_all(sock, (char *)head, HEAD_BYTES, r) : -ENOMEM;

	for (int i = 0; rc == 0 && i < 4; i++)
		len = len << 8 | head[i];
	if (rc == 0 && len > MAX_RECORD_BYTES)
		rc = -EBADMSG;
	if (rc == 0 && !herd_buf_reserve(&r->fields, len))
		rc = -ENOMEM;
	if (rc == 0)
		rc = recv_all(sock, r->fields.data, len, r);
	if (rc < 0) {
		herd_record_free(r);
		return rc;
	}
	r->fields.len = len;
	r->type = head[4];
	*ret = r;
	return 0;
}
