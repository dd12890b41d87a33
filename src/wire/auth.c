#include "wire/auth.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* A server names the iterations that we are to do: more than so many would hold up others. */
enum { MAX_MESSAGE_BYTES = 4096, MAX_ITERATIONS = 10000000, MAX_SERVER_ITERATIONS = 1000000 };

static const char scram_prefix[] = "SCRAM-SHA-256$";
static const char plus_header[] = "p=tls-server-end-point,,";

/*
 * The functions of OpenSSL that take a digest by name look it up each time, which costs more than
 * what they then do. Found once, they are kept for good.
 */
static const EVP_MD *found(_Atomic(EVP_MD *) *kept, const char *name, const EVP_MD *otherwise)
{
	EVP_MD *md = atomic_load_explicit(kept, memory_order_acquire), *none = NULL;

	if (md)
		return md;
	md = EVP_MD_fetch(NULL, name, NULL);
	if (!md)
		return otherwise;
	/* Another thread may have been faster. */
	if (atomic_compare_exchange_strong(kept, &none, md))
		return md;
	EVP_MD_free(md);
	return none;
}

static const EVP_MD *use_md5(void)
{
	static _Atomic(EVP_MD *) kept;

	return found(&kept, "MD5", EVP_md5());
}

static const EVP_MD *use_sha256(void)
{
	static _Atomic(EVP_MD *) kept;

	return found(&kept, "SHA256", EVP_sha256());
}

static int md5_hex(const void *data, size_t n, char ret[33])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sum[16];
	unsigned int len = sizeof(sum);

	if (EVP_Digest(data, n, sum, &len, use_md5(), NULL) != 1)
		return -EIO;
	for (int i = 0; i < 16; i++) {
		ret[2 * i] = digits[sum[i] >> 4];
		ret[2 * i + 1] = digits[sum[i] & 15];
	}
	ret[32] = '\0';
	return 0;
}

int herd_md5_secret(const char *password, const char *user, char ret[HERD_MD5_TEXT_BYTES])
{
	struct herd_buf b = { 0 };

	herd_buf_addstr(&b, password);
	herd_buf_addstr(&b, user);
	memcpy(ret, "md5", 3);
	int rc = herd_buf_ok(&b) ? md5_hex(herd_buf_str(&b), b.len, ret + 3) : -ENOMEM;

	if (b.data)
		herd_str_wipe(b.data, b.cap);
	herd_buf_free(&b);
	return rc;
}

int herd_md5_response(const char *secret, const uint8_t salt[4], char ret[HERD_MD5_TEXT_BYTES])
{
	uint8_t raw[36];

	if (!herd_md5_is_secret(secret))
		return -EINVAL;
	memcpy(raw, secret + 3, 32);
	memcpy(raw + 32, salt, 4);
	memcpy(ret, "md5", 3);
	return md5_hex(raw, sizeof(raw), ret + 3);
}

bool herd_md5_is_secret(const char *text)
{
	return text && strncmp(text, "md5", 3) == 0 && strlen(text) == 35 &&
	       strspn(text + 3, "0123456789abcdefABCDEF") == 32;
}

/* Appends the base64 text. */
static void add_base64(struct herd_buf *b, const uint8_t *data, size_t n)
{
	size_t len = (n + 2) / 3 * 4;

	if (!herd_buf_reserve(b, len))
		return;
	EVP_EncodeBlock((uint8_t *)b->data + b->len, data, (int)n);
	b->len += len;
}

/* Strict base64 of len characters into at most max bytes; the length or -EBADMSG. */
static int base64_decode(const char *text, size_t len, uint8_t *ret, size_t max)
{
	uint8_t raw[HERD_SCRAM_SALT_MAX_BYTES + 3];
	size_t pad = 0;

	if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof(raw))
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr("+/=", text[i]))
			return -EBADMSG;
	}
	while (pad < 2 && text[len - 1 - pad] == '=')
		pad++;
	if (memchr(text, '=', len - pad))
		return -EBADMSG;
	int n = EVP_DecodeBlock(raw, (const uint8_t *)text, (int)len);

	if (n < 0 || (size_t)n < pad || (size_t)n - pad > max)
		return -EBADMSG;
	memcpy(ret, raw, (size_t)n - pad);
	return n - (int)pad;
}

static int hmac(const uint8_t key[HERD_SCRAM_KEY_BYTES], const void *data, size_t n,
		uint8_t ret[HERD_SCRAM_KEY_BYTES])
{
	enum { BLOCK = 64 };
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	uint8_t pad[BLOCK] = { 0 };
	bool ok;

	/* RFC 2104, by hand: HMAC() looks up both itself and the digest. */
	memcpy(pad, key, HERD_SCRAM_KEY_BYTES);
	for (int i = 0; i < BLOCK; i++)
		pad[i] ^= 0x36;
	ok = c && EVP_DigestInit_ex(c, use_sha256(), NULL) == 1 &&
	     EVP_DigestUpdate(c, pad, BLOCK) == 1 && EVP_DigestUpdate(c, data, n) == 1 &&
	     EVP_DigestFinal_ex(c, ret, NULL) == 1;
	for (int i = 0; i < BLOCK; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	ok = ok && EVP_DigestInit_ex(c, NULL, NULL) == 1 && EVP_DigestUpdate(c, pad, BLOCK) == 1 &&
	     EVP_DigestUpdate(c, ret, HERD_SCRAM_KEY_BYTES) == 1 &&
	     EVP_DigestFinal_ex(c, ret, NULL) == 1;
	herd_str_wipe(pad, sizeof(pad));
	EVP_MD_CTX_free(c);
	return ok ? 0 : -EIO;
}

static int sha256_of(const uint8_t key[HERD_SCRAM_KEY_BYTES], uint8_t ret[HERD_SCRAM_KEY_BYTES])
{
	unsigned int len = HERD_SCRAM_KEY_BYTES;

	return EVP_Digest(key, HERD_SCRAM_KEY_BYTES, ret, &len, use_sha256(), NULL) == 1 ? 0 : -EIO;
}

bool herd_scram_is_secret(const char *text)
{
	struct herd_scram_secret s;

	return text && herd_scram_secret_parse(text, &s) == 0;
}

int herd_scram_secret_parse(const char *text, struct herd_scram_secret *ret)
{
	struct herd_scram_secret s = { 0 };
	char *end;

	if (strncmp(text, scram_prefix, sizeof(scram_prefix) - 1) != 0)
		return -EINVAL;
	text += sizeof(scram_prefix) - 1;
	errno = 0;
	long iterations = strtol(text, &end, 10);

	if (errno || *end != ':' || iterations < 1 || iterations > MAX_ITERATIONS)
		return -EINVAL;
	s.iterations = (int)iterations;
	const char *salt = end + 1;
	const char *stored = strchr(salt, '$');
	const char *server = stored ? strchr(stored, ':') : NULL;

	if (!server)
		return -EINVAL;
	int n = base64_decode(salt, (size_t)(stored - salt), s.salt, sizeof(s.salt));

	if (n <= 0)
		return -EINVAL;
	s.salt_len = (size_t)n;
	stored++;
	if (base64_decode(stored, (size_t)(server - stored), s.stored_key, sizeof(s.stored_key)) !=
	    HERD_SCRAM_KEY_BYTES)
		return -EINVAL;
	server++;
	if (base64_decode(server, strlen(server), s.server_key, sizeof(s.server_key)) !=
	    HERD_SCRAM_KEY_BYTES)
		return -EINVAL;
	*ret = s;
	return 0;
}

int herd_scram_derive(const char *password, const void *salt, size_t salt_len, int iterations,
		      struct herd_scram_secret *ret, struct herd_scram_keys *keys)
{
	uint8_t salted[HERD_SCRAM_KEY_BYTES];
	struct herd_scram_keys k;
	int rc = -EIO;

	if (salt_len > sizeof(ret->salt) || iterations < 1)
		return -EINVAL;
	if (PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_len, iterations,
			      EVP_sha256(), sizeof(salted), salted) != 1)
		return -EIO;
	if (hmac(salted, "Client Key", 10, k.client_key) < 0 ||
	    hmac(salted, "Server Key", 10, k.server_key) < 0 ||
	    sha256_of(k.client_key, ret->stored_key) < 0)
		goto out;
	ret->iterations = iterations;
	ret->salt_len = salt_len;
	memcpy(ret->salt, salt, salt_len);
	memcpy(ret->server_key, k.server_key, sizeof(k.server_key));
	if (keys)
		*keys = k;
	rc = 0;
out:
	herd_str_wipe(salted, sizeof(salted));
	herd_str_wipe(&k, sizeof(k));
	return rc;
}

int herd_scram_mock_salt(const uint8_t seed[HERD_SCRAM_SEED_BYTES], const char *user,
			 uint8_t ret[HERD_SCRAM_SALT_BYTES])
{
	uint8_t sum[HERD_SCRAM_KEY_BYTES], key[HERD_SCRAM_KEY_BYTES] = { 0 };

	memcpy(key, seed, HERD_SCRAM_SEED_BYTES);
	int rc = hmac(key, user, strlen(user), sum);

	if (rc == 0)
		memcpy(ret, sum, HERD_SCRAM_SALT_BYTES);
	herd_str_wipe(key, sizeof(key));
	return rc;
}

/* A message as a C text; NULL when it holds zeroes, is too long or memory is out. */
static char *as_text(const void *data, size_t n)
{
	if (n == 0 || n > MAX_MESSAGE_BYTES || memchr(data, 0, n))
		return NULL;
	return strndup(data, n);
}

/*
 * Finds "k=value" at the start of *p, ends it at the comma (or the end) in place and moves *p
 * behind it. NULL when another attribute stands there.
 */
static char *attribute(char **p, char name)
{
	char *value = *p;

	if (value[0] != name || value[1] != '=')
		return NULL;
	value += 2;
	char *comma = strchr(value, ',');

	if (comma)
		*comma = '\0';
	*p = comma ? comma + 1 : value + strlen(value);
	return value;
}

static bool printable(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < 0x21 || *s > 0x7e || *s == ',')
			return false;
	}
	return true;
}

/* What "c=" must be: the header once more, and the binding behind it. NULL: out of memory. */
static char *make_binding(char gs2, const struct herd_scram_binding *binding)
{
	struct herd_buf raw = { 0 }, text = { 0 };

	if (gs2 == 'p') {
		herd_buf_addstr(&raw, plus_header);
		herd_buf_add(&raw, binding->data, binding->len);
	} else {
		herd_buf_addstr(&raw, gs2 == 'y' ? "y,," : "n,,");
	}
	if (herd_buf_ok(&raw))
		add_base64(&text, (const uint8_t *)herd_buf_str(&raw), raw.len);
	herd_buf_free(&raw);
	return herd_buf_steal(&text);
}

static char *make_server_first(const struct herd_scram_secret *secret, const char *nonce)
{
	struct herd_buf b = { 0 };

	herd_buf_printf(&b, "r=%s,s=", nonce);
	add_base64(&b, secret->salt, secret->salt_len);
	herd_buf_printf(&b, ",i=%d", secret->iterations);
	return herd_buf_steal(&b);
}

int herd_scram_server_first(struct herd_scram_server *s, const struct herd_scram_secret *secret,
			    const void *data, size_t n, const uint8_t nonce[HERD_SCRAM_NONCE_BYTES],
			    struct herd_buf *out)
{
	char *text = as_text(data, n), *p = text, *client_nonce;
	struct herd_buf b = { 0 };
	int rc = -EBADMSG;

	if (!text)
		return -EBADMSG;
	s->gs2 = *p;
	/*
	 * "y": it thinks that we cannot; when it was offered, somebody took that out of the list.
	 * No authorization identity: nothing between the commas.
	 */
	if ((*p == 'p') != s->plus || (*p == 'y' && s->binding.len > 0)) {
		rc = -EPROTONOSUPPORT;
		goto out;
	}
	if (s->plus && strncmp(p, plus_header, sizeof(plus_header) - 1) == 0)
		p += sizeof(plus_header) - 1;
	else if (!s->plus && (*p == 'n' || *p == 'y') && p[1] == ',' && p[2] == ',')
		p += 3;
	else
		goto out;
	free(s->client_first_bare);
	s->client_first_bare = strdup(p);
	if (!s->client_first_bare)
		goto nomem;
	/* The user name is the startup packet's; what stands here is ignored, as PostgreSQL does.
	 */
	if (!attribute(&p, 'n'))
		goto out;
	client_nonce = attribute(&p, 'r');
	if (!client_nonce || !printable(client_nonce))
		goto out;
	herd_buf_addstr(&b, client_nonce);
	add_base64(&b, nonce, HERD_SCRAM_NONCE_BYTES);
	free(s->nonce);
	free(s->server_first);
	s->nonce = herd_buf_steal(&b);
	s->server_first = s->nonce ? make_server_first(secret, s->nonce) : NULL;
	if (!s->server_first)
		goto nomem;
	herd_buf_addstr(out, s->server_first);
	rc = herd_buf_ok(out) ? 0 : -ENOMEM;
	goto out;
nomem:
	rc = -ENOMEM;
out:
	free(text);
	herd_buf_free(&b);
	return rc;
}

/* client-first-bare "," server-first "," client-final-without-proof */
static char *make_auth_message(const char *client_first_bare, const char *server_first,
			       const char *final, size_t final_len)
{
	struct herd_buf b = { 0 };

	herd_buf_printf(&b, "%s,%s,", client_first_bare, server_first);
	herd_buf_add(&b, final, final_len);
	return herd_buf_steal(&b);
}

static int check_proof(const struct herd_scram_secret *secret, const char *auth_message,
		       const uint8_t proof[HERD_SCRAM_KEY_BYTES], struct herd_scram_keys *keys)
{
	uint8_t signature[HERD_SCRAM_KEY_BYTES], stored[HERD_SCRAM_KEY_BYTES];

	if (hmac(secret->stored_key, auth_message, strlen(auth_message), signature) < 0)
		return -EACCES;
	for (int i = 0; i < HERD_SCRAM_KEY_BYTES; i++)
		keys->client_key[i] = proof[i] ^ signature[i];
	if (sha256_of(keys->client_key, stored) < 0 ||
	    CRYPTO_memcmp(stored, secret->stored_key, sizeof(stored)) != 0)
		return -EACCES;
	memcpy(keys->server_key, secret->server_key, HERD_SCRAM_KEY_BYTES);
	return 0;
}

int herd_scram_server_final(struct herd_scram_server *s, const struct herd_scram_secret *secret,
			    const void *data, size_t n, struct herd_buf *out,
			    struct herd_scram_keys *keys)
{
	char *text = as_text(data, n), *p = text, *auth_message = NULL;
	char *want = make_binding(s->gs2, &s->binding);
	uint8_t proof[HERD_SCRAM_KEY_BYTES], signature[HERD_SCRAM_KEY_BYTES];
	int rc = -EBADMSG;

	if (!text || !s->server_first || !want)
		goto out;
	/* Clients may put extensions before the proof, which is always last. */
	char *last = strrchr(text, ',');

	if (!last || strncmp(last, ",p=", 3) != 0)
		goto out;
	auth_message = make_auth_message(s->client_first_bare, s->server_first, text,
					 (size_t)(last - text));
	if (!auth_message) {
		rc = -ENOMEM;
		goto out;
	}
	if (base64_decode(last + 3, strlen(last + 3), proof, sizeof(proof)) != sizeof(proof))
		goto out;
	char *binding = attribute(&p, 'c');

	if (!binding || strcmp(binding, want) != 0)
		goto out;
	char *nonce = attribute(&p, 'r');

	if (!nonce || strcmp(nonce, s->nonce) != 0)
		goto out;
	rc = check_proof(secret, auth_message, proof, keys);
	if (rc < 0)
		goto out;
	if (hmac(secret->server_key, auth_message, strlen(auth_message), signature) < 0) {
		rc = -EIO;
		goto out;
	}
	herd_buf_addstr(out, "v=");
	add_base64(out, signature, sizeof(signature));
	rc = herd_buf_ok(out) ? 0 : -ENOMEM;
out:
	free(want);
	free(auth_message);
	free(text);
	return rc;
}

void herd_scram_server_free(struct herd_scram_server *s)
{
	if (!s)
		return;
	free(s->client_first_bare);
	free(s->server_first);
	free(s->nonce);
	*s = (struct herd_scram_server){ 0 };
}

int herd_scram_client_first(struct herd_scram_client *c,
			    const uint8_t nonce[HERD_SCRAM_NONCE_BYTES], struct herd_buf *out)
{
	struct herd_buf b = { 0 };

	add_base64(&b, nonce, HERD_SCRAM_NONCE_BYTES);
	c->nonce = herd_buf_steal(&b);
	if (c->nonce)
		herd_buf_printf(&b, "n=,r=%s", c->nonce);
	c->first_bare = herd_buf_steal(&b);
	if (!c->nonce || !c->first_bare)
		return -ENOMEM;
	herd_buf_addstr(out, c->gs2 == 'p' ? plus_header : c->gs2 == 'y' ? "y,," : "n,,");
	herd_buf_addstr(out, c->first_bare);
	return herd_buf_ok(out) ? 0 : -ENOMEM;
}

/* Reads the server's first message: its nonce (ours first), salt and iterations. */
static int read_server_first(struct herd_scram_client *c, char *text, char **nonce,
			     struct herd_scram_secret *ret)
{
	char *p = text, *end;

	*nonce = attribute(&p, 'r');
	if (!*nonce || !printable(*nonce) || strncmp(*nonce, c->nonce, strlen(c->nonce)) != 0 ||
	    strlen(*nonce) == strlen(c->nonce))
		return -EBADMSG;
	char *salt = attribute(&p, 's');

	if (!salt)
		return -EBADMSG;
	int n = base64_decode(salt, strlen(salt), ret->salt, sizeof(ret->salt));

	if (n <= 0)
		return -EBADMSG;
	ret->salt_len = (size_t)n;
	char *iterations = attribute(&p, 'i');

	if (!iterations)
		return -EBADMSG;
	long v = strtol(iterations, &end, 10);

	if (*end || v < 1 || v > MAX_SERVER_ITERATIONS)
		return -EBADMSG;
	ret->iterations = (int)v;
	return 0;
}

static int add_proof(struct herd_scram_client *c, const struct herd_scram_keys *keys,
		     struct herd_buf *out)
{
	uint8_t stored[HERD_SCRAM_KEY_BYTES], signature[HERD_SCRAM_KEY_BYTES];

	if (sha256_of(keys->client_key, stored) < 0 ||
	    hmac(stored, c->auth_message, strlen(c->auth_message), signature) < 0)
		return -EIO;
	for (int i = 0; i < HERD_SCRAM_KEY_BYTES; i++)
		signature[i] ^= keys->client_key[i];
	herd_buf_addstr(out, ",p=");
	add_base64(out, signature, sizeof(signature));
	memcpy(c->server_key, keys->server_key, sizeof(c->server_key));
	return 0;
}

int herd_scram_client_challenge(struct herd_scram_client *c, const void *data, size_t n,
				struct herd_scram_secret *ret)
{
	char *text = as_text(data, n), *nonce;
	int rc = -EBADMSG;

	*ret = (struct herd_scram_secret){ 0 };
	free(c->server_first);
	free(c->server_nonce);
	c->server_first = as_text(data, n);
	c->server_nonce = NULL;
	if (text && c->server_first && c->nonce)
		rc = read_server_first(c, text, &nonce, ret);
	if (rc == 0 && !(c->server_nonce = strdup(nonce)))
		rc = -ENOMEM;
	free(text);
	return rc;
}

int herd_scram_client_final(struct herd_scram_client *c, const struct herd_scram_keys *keys,
			    struct herd_buf *out)
{
	char *binding = make_binding(c->gs2, &c->binding);
	struct herd_buf final = { 0 };
	int rc = -EBADMSG;

	if (!c->server_nonce)
		goto out;
	rc = -ENOMEM;
	if (!binding)
		goto out;
	herd_buf_printf(&final, "c=%s,r=%s", binding, c->server_nonce);
	free(c->auth_message);
	c->auth_message =
		make_auth_message(c->first_bare, c->server_first, herd_buf_str(&final), final.len);
	if (!c->auth_message || !herd_buf_ok(&final))
		goto out;
	rc = add_proof(c, keys, &final);
	if (rc < 0)
		goto out;
	herd_buf_add(out, herd_buf_str(&final), final.len);
	rc = herd_buf_ok(out) ? 0 : -ENOMEM;
out:
	herd_buf_free(&final);
	free(binding);
	return rc;
}

int herd_scram_client_verify(struct herd_scram_client *c, const void *data, size_t n)
{
	uint8_t want[HERD_SCRAM_KEY_BYTES], got[HERD_SCRAM_KEY_BYTES];
	char *text = as_text(data, n), *p = text;
	int rc = -EBADMSG;

	if (!text || !c->auth_message)
		goto out;
	char *v = attribute(&p, 'v');

	if (!v || base64_decode(v, strlen(v), got, sizeof(got)) != sizeof(got))
		goto out;
	if (hmac(c->server_key, c->auth_message, strlen(c->auth_message), want) < 0)
		goto out;
	rc = CRYPTO_memcmp(want, got, sizeof(want)) == 0 ? 0 : -EACCES;
out:
	free(text);
	return rc;
}

void herd_scram_client_free(struct herd_scram_client *c)
{
	if (!c)
		return;
	free(c->first_bare);
	free(c->nonce);
	free(c->server_first);
	free(c->server_nonce);
	free(c->auth_message);
	herd_str_wipe(c->server_key, sizeof(c->server_key));
	*c = (struct herd_scram_client){ 0 };
}
