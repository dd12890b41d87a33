#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "wire/auth.h"
#include "wire/msg.h"
#include "wire/startup.h"

static void heads(void **state)
{
	struct herd_msg_head h;

	assert_int_equal(herd_msg_head_parse("Q\0\0\0", 4, &h), -EAGAIN);
	assert_int_equal(herd_msg_head_parse("Q\0\0\0\3", 5, &h), -EBADMSG);
	assert_int_equal(herd_msg_head_parse("Q\xff\xff\xff\xff", 5, &h), -EBADMSG);
	assert_int_equal(herd_msg_head_parse("Q\0\0\0\4", 5, &h), 0);
	assert_int_equal(h.len, 0);
	assert_int_equal(herd_msg_head_parse("Z\0\0\1\4", 5, &h), 0);
	assert_int_equal(h.type, 'Z');
	assert_int_equal(h.len, 256);
}

static void reader_stops_at_the_end(void **state)
{
	struct herd_rd r = herd_rd_init("\1\2\3\4ab", 6);

	assert_int_equal(herd_rd_u32(&r), 0x01020304);
	assert_string_equal(herd_rd_str(&r), ""); /* no zero in what is left */
	assert_false(herd_rd_ok(&r));
	assert_int_equal(herd_rd_u8(&r), 0);
	assert_null(herd_rd_bytes(&r, 1));
}

static void reports_round_trip(void **state)
{
	struct herd_buf b = { 0 };
	struct herd_report e;
	struct herd_msg_head h;

	herd_wr_report(&b, 'E', "FATAL", "57P01", "going down", "because", NULL);
	assert_int_equal(herd_msg_head_parse(b.data, b.len, &h), 0);
	assert_int_equal(h.len + HERD_MSG_HEAD_BYTES, b.len);
	assert_int_equal(herd_report_parse(b.data + 5, h.len, &e), 0);
	assert_string_equal(e.severity, "FATAL");
	assert_string_equal(e.sqlstate, "57P01");
	assert_string_equal(e.msg, "going down");
	assert_string_equal(e.detail, "because");
	assert_string_equal(e.hint, "");
	for (size_t n = 0; n < h.len; n++)
		assert_int_equal(herd_report_parse(b.data + 5, n, &e), -EBADMSG);
	herd_buf_free(&b);
}

static void startups(void **state)
{
	const char *pairs[] = { "user", "me", "database", "db", NULL };
	struct herd_buf b = { 0 };
	struct herd_startup s;

	herd_wr_startup(&b, pairs);
	for (size_t n = 0; n < b.len; n++)
		assert_int_equal(herd_startup_parse(herd_buf_str(&b), n, &s), -EAGAIN);
	assert_int_equal(herd_startup_parse(b.data, b.len, &s), 0);
	assert_int_equal(s.kind, HERD_STARTUP_LOGIN);
	assert_int_equal(s.total, b.len);
	assert_string_equal(herd_startup_get(&s, "user"), "me");
	assert_null(herd_startup_get(&s, "password"));
	herd_buf_reset(&b);
	herd_wr_ssl_request(&b);
	assert_int_equal(herd_startup_parse(b.data, b.len, &s), 0);
	assert_int_equal(s.kind, HERD_STARTUP_SSL);
	herd_buf_reset(&b);
	herd_wr_cancel(&b, 77, "abcd", 4);
	assert_int_equal(herd_startup_parse(b.data, b.len, &s), 0);
	assert_int_equal(s.kind, HERD_STARTUP_CANCEL);
	assert_int_equal(s.cancel_pid, 77);
	assert_int_equal(s.cancel_key_len, 4);
	herd_buf_free(&b);
	assert_int_equal(herd_startup_parse("\0\0\0\x8\0\2\0\0", 8, &s), -EPROTONOSUPPORT);
	assert_int_equal(herd_startup_parse("\xff\0\0\x8", 4, &s), -EBADMSG);
}

static void md5_as_postgres(void **state)
{
	char secret[HERD_MD5_TEXT_BYTES], response[HERD_MD5_TEXT_BYTES];
	const uint8_t salt[4] = { 1, 2, 3, 4 };

	assert_int_equal(herd_md5_secret("secret", "alice", secret), 0);
	assert_true(herd_md5_is_secret(secret));
	assert_int_equal(herd_md5_response(secret, salt, response), 0);
	assert_true(herd_md5_is_secret(response));
	assert_int_equal(herd_md5_response("plain", salt, response), -EINVAL);
	/* select 'md5' || md5('pencil' || 'user') */
	assert_int_equal(herd_md5_secret("pencil", "user", secret), 0);
	assert_string_equal(secret, "md520c46e3762c864548e296b33c3406aa9");
}

/* One SCRAM login; returns what the server side says at the end. */
static int login(const char *server_password, const char *client_password,
		 const struct herd_scram_keys *client_keys, struct herd_scram_keys *captured,
		 char gs2)
{
	static const uint8_t nonce_c[HERD_SCRAM_NONCE_BYTES] = "client-nonce";
	static const uint8_t nonce_s[HERD_SCRAM_NONCE_BYTES] = "server-nonce";
	struct herd_scram_secret secret, asked;
	struct herd_scram_keys derived;
	struct herd_scram_server s = { .plus = gs2 == 'p' };
	struct herd_scram_client c = { .gs2 = gs2 };
	struct herd_buf m1 = { 0 }, m2 = { 0 }, m3 = { 0 }, m4 = { 0 };

	assert_int_equal(
		herd_scram_derive(server_password, "saltsaltsaltsalt", 16, 4096, &secret, NULL), 0);
	if (gs2 == 'p') {
		s.binding = (struct herd_scram_binding){ .len = 32, .data = "certificate" };
		c.binding = s.binding;
	}
	assert_int_equal(herd_scram_client_first(&c, nonce_c, &m1), 0);
	assert_int_equal(herd_scram_server_first(&s, &secret, m1.data, m1.len, nonce_s, &m2), 0);
	assert_int_equal(herd_scram_client_challenge(&c, m2.data, m2.len, &asked), 0);
	assert_int_equal(asked.iterations, 4096);
	if (!client_keys) {
		assert_int_equal(herd_scram_derive(client_password, asked.salt, asked.salt_len,
						   asked.iterations, &asked, &derived),
				 0);
		client_keys = &derived;
	}
	assert_int_equal(herd_scram_client_final(&c, client_keys, &m3), 0);
	int rc = herd_scram_server_final(&s, &secret, m3.data, m3.len, &m4, captured);

	if (rc == 0)
		assert_int_equal(herd_scram_client_verify(&c, m4.data, m4.len), 0);
	/* Every byte counts (the last two bits of the proof's text do not: those are not touched).
	 */
	for (size_t i = 0; rc == 0 && i < m3.len; i++) {
		struct herd_scram_keys k;

		m3.data[i] ^= 4;
		assert_true(herd_scram_server_final(&s, &secret, m3.data, m3.len, &m4, &k) < 0);
		m3.data[i] ^= 4;
	}
	herd_scram_server_free(&s);
	herd_scram_client_free(&c);
	herd_buf_free(&m1);
	herd_buf_free(&m2);
	herd_buf_free(&m3);
	herd_buf_free(&m4);
	return rc;
}

static void scram(void **state)
{
	struct herd_scram_keys keys, again;

	assert_int_equal(login("pencil", "pencil", NULL, &keys, 'n'), 0);
	assert_int_equal(login("pencil", NULL, &keys, &again, 'n'), 0);
	assert_int_equal(login("pencil", NULL, &keys, &again, 'y'), 0);
	assert_int_equal(login("pencil", NULL, &keys, &again, 'p'), 0);
	assert_memory_equal(&keys, &again, sizeof(keys));
	assert_int_equal(login("eraser", NULL, &keys, &again, 'p'), -EACCES);
	assert_int_equal(login("pencil", "pen", NULL, &again, 'n'), -EACCES);
	assert_int_equal(login("eraser", NULL, &keys, &again, 'n'), -EACCES);
}

static void scram_secrets(void **state)
{
	struct herd_scram_secret s;
	/* create role x password 'pencil' on PostgreSQL 15 */
	const char *good = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$"
			   "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=:"
			   "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
	char copy[256];

	assert_int_equal(herd_scram_secret_parse(good, &s), 0);
	assert_int_equal(s.salt_len, 16);
	assert_int_equal(s.iterations, 4096);
	/* Nothing shorter is a secret. */
	for (size_t n = 0; n < strlen(good); n++) {
		memcpy(copy, good, n);
		copy[n] = '\0';
		assert_false(herd_scram_is_secret(copy));
	}
	assert_false(herd_scram_is_secret("md504308ba7d00aaddd38b53db7a79b16ad"));
	assert_false(herd_scram_is_secret(NULL));
}

/* Salts of users that do not exist tell nothing: not even that they were made otherwise. */
static void mock_salts(void **state)
{
	static const uint8_t seed[HERD_SCRAM_SEED_BYTES] = "seed",
			     other[HERD_SCRAM_SEED_BYTES] = "";
	uint8_t a[HERD_SCRAM_SALT_BYTES], b[HERD_SCRAM_SALT_BYTES];
	int beyond_ascii = 0;

	assert_int_equal(herd_scram_mock_salt(seed, "someone", a), 0);
	assert_int_equal(herd_scram_mock_salt(seed, "someone", b), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(herd_scram_mock_salt(seed, "somebody", b), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(herd_scram_mock_salt(other, "someone", b), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		beyond_ascii += a[i] > 0x7f;
	assert_true(beyond_ascii > 0);
}

static void random_bytes_are_refused_quietly(void **state)
{
	struct herd_rng rng = herd_rng_seed(42);
	uint8_t data[300];
	struct herd_startup s;
	struct herd_report e;
	struct herd_scram_secret secret = { .iterations = 1, .salt_len = 4 };

	for (int i = 0; i < 200000; i++) {
		size_t n = (size_t)herd_rng_range(&rng, 0, sizeof(data));

		for (size_t k = 0; k < n; k++)
			data[k] = (uint8_t)herd_rng_next(&rng);
		if (n > 8 && herd_rng_chance(&rng, 700))
			memcpy(data, (uint8_t[]){ 0, 0, (uint8_t)(n >> 8), (uint8_t)n, 0, 3, 0, 0 },
			       8);
		herd_startup_parse(data, n, &s);
		herd_report_parse(data, n, &e);
		if (i % 100 == 0) {
			struct herd_scram_server ss = { 0 };
			struct herd_buf out = { 0 };
			uint8_t nonce[HERD_SCRAM_NONCE_BYTES] = { 0 };

			memcpy(data, "n,,n=,r=", 8);
			herd_scram_server_first(&ss, &secret, data, n, nonce, &out);
			herd_scram_server_free(&ss);
			herd_buf_free(&out);
		}
	}
}

/* What the two sides say of channel binding: only one certificate, and nothing taken out, gets by.
 */
static void bindings_must_fit(void **state)
{
	static const uint8_t nonce[HERD_SCRAM_NONCE_BYTES] = "nonce";
	static const struct herd_scram_binding ours = { .len = 32, .data = "certificate" };
	static const struct herd_scram_binding other = { .len = 32, .data = "other" };
	static const struct {
		char gs2;
		bool plus, offered;
		int first, final;
		const struct herd_scram_binding *seen;
	} rows[] = {
		{ 'p', true, true, 0, 0, &ours },
		{ 'p', true, true, 0, -EBADMSG, &other },
		{ 'p', false, true, -EPROTONOSUPPORT, 0, &ours },
		{ 'n', true, true, -EPROTONOSUPPORT, 0, &ours },
		{ 'y', false, true, -EPROTONOSUPPORT, 0, &ours },
		{ 'y', false, false, 0, 0, &ours },
		{ 'n', false, true, 0, 0, &ours },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_scram_secret secret, asked;
		struct herd_scram_keys keys, got;
		struct herd_scram_server s = { .plus = rows[i].plus };
		struct herd_scram_client c = { .gs2 = rows[i].gs2, .binding = *rows[i].seen };
		struct herd_buf m1 = { 0 }, m2 = { 0 }, m3 = { 0 }, m4 = { 0 };

		if (rows[i].offered)
			s.binding = ours;
		herd_scram_derive("x", "saltsaltsaltsalt", 16, 1, &secret, &keys);
		herd_scram_client_first(&c, nonce, &m1);
		assert_int_equal(herd_scram_server_first(&s, &secret, m1.data, m1.len, nonce, &m2),
				 rows[i].first);
		if (rows[i].first == 0) {
			herd_scram_client_challenge(&c, m2.data, m2.len, &asked);
			assert_int_equal(herd_scram_client_final(&c, &keys, &m3), 0);
			assert_int_equal(
				herd_scram_server_final(&s, &secret, m3.data, m3.len, &m4, &got),
				rows[i].final);
		}
		herd_scram_server_free(&s);
		herd_scram_client_free(&c);
		herd_buf_free(&m1);
		herd_buf_free(&m2);
		herd_buf_free(&m3);
		herd_buf_free(&m4);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bindings_must_fit),
		cmocka_unit_test(heads),
		cmocka_unit_test(reader_stops_at_the_end),
		cmocka_unit_test(reports_round_trip),
		cmocka_unit_test(startups),
		cmocka_unit_test(md5_as_postgres),
		cmocka_unit_test(scram),
		cmocka_unit_test(scram_secrets),
		cmocka_unit_test(mock_salts),
		cmocka_unit_test(random_bytes_are_refused_quietly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
