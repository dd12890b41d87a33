/* libFuzzer: everything that reads bytes of a stranger without a socket. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pool/flight.h"
#include "pool/prepared.h"
#include "wire/auth.h"
#include "wire/msg.h"
#include "wire/startup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void messages(const uint8_t *data, size_t n)
{
	struct herd_msg_head h;
	struct herd_flight f = { 0 };
	struct herd_stmt_names names;
	struct herd_report e;

	while (herd_msg_head_parse(data, n, &h) == 0) {
		size_t here = n - HERD_MSG_HEAD_BYTES < h.len ? n - HERD_MSG_HEAD_BYTES : h.len;
		const uint8_t *body = data + HERD_MSG_HEAD_BYTES;
		struct herd_buf b = { 0 };

		if (herd_stmt_names_parse(h.type, body, here, &names) == 0)
			herd_stmt_names_rewrite(&b, h.type, body, h.len, &names, "PGBOUNCER_1");
		herd_buf_free(&b);
		herd_report_parse(body, here, &e);
		if (here > 0 && body[0] % 2)
			herd_flight_push(&f, h.type, (enum herd_flight_act)(body[0] % 3), NULL);
		else
			herd_flight_answer(&f, h.type, NULL, NULL, NULL);
		herd_flight_take_fake(&f, NULL);
		herd_flight_check(&f);
		data = body + here;
		n -= HERD_MSG_HEAD_BYTES + here;
	}
	herd_flight_free(&f);
}

static void scram(const uint8_t *data, size_t n)
{
	static const uint8_t nonce[HERD_SCRAM_NONCE_BYTES] = "nonce";
	struct herd_scram_secret secret = { .iterations = 1, .salt_len = 4 };
	struct herd_scram_server s = { 0 };
	struct herd_scram_client c = { 0 };
	struct herd_scram_keys keys;
	struct herd_buf out = { 0 };
	char text[512];
	size_t half = n / 2;

	if (n > 0 && data[0] == 'p') {
		s.plus = true;
		c.gs2 = 'p';
		s.binding.len = c.binding.len = 32;
	}
	if (herd_scram_server_first(&s, &secret, data, half, nonce, &out) == 0)
		herd_scram_server_final(&s, &secret, data + half, n - half, &out, &keys);
	herd_scram_client_first(&c, nonce, &out);
	memset(&keys, 1, sizeof(keys));
	if (herd_scram_client_challenge(&c, data, half, &secret) == 0)
		herd_scram_client_final(&c, &keys, &out);
	herd_scram_client_verify(&c, data + half, n - half);
	if (n < sizeof(text)) {
		memcpy(text, data, n);
		text[n] = '\0';
		herd_scram_secret_parse(text, &secret);
	}
	herd_scram_server_free(&s);
	herd_scram_client_free(&c);
	herd_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct herd_startup s;

	herd_startup_parse(data, n, &s);
	messages(data, n);
	scram(data, n);
	return 0;
}
