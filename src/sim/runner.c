/*
 * sim/runner.c - many seeds, on several processes. Each seed stands alone, so it does not matter
 * who runs it.
 */
#include "sim/runner.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"

enum { MAX_WORKERS = 64 };

/* What a worker tells of one seed; the samples of each kind and the text follow. */
struct record {
	int64_t seed;
	bool failed;
	struct sim_report counts; /* its pointers mean nothing on the other side */
	size_t text_len;
};

/* Runs one seed; *text (malloc'd) says what failed. */
static bool run_seed(const struct sim_options *opt, int64_t seed, struct sim_report *report,
		     char **text)
{
	struct sim *w = calloc(1, sizeof(*w));
	bool ok;

	*text = NULL;
	if (!w) {
		*text = strdup("out of memory");
		return false;
	}
	ok = sim_run(w, (uint64_t)seed, opt);
	if (!ok)
		*text = strdup(w->failure ? w->failure : "out of memory");
	if (!sim_report_add(report, &w->report))
		ok = false;
	sim_free(w);
	free(w);
	return ok;
}

static int count_faults(const struct sim_options *opt, int64_t seed)
{
	struct sim *w = calloc(1, sizeof(*w));
	int n = 0;

	if (w) {
		sim_run(w, (uint64_t)seed, opt);
		n = w->n_inflicted;
		sim_free(w);
	}
	free(w);
	return n;
}

static bool still_fails(const struct sim_options *opt, int64_t seed)
{
	struct sim_report report = { 0 };
	char *text;
	bool ok = run_seed(opt, seed, &report, &text);

	free(text);
	sim_report_clear(&report);
	return !ok;
}

/*
 * Leaves out one fault or request after the other, from the last to the first (a fault may change
 * the numbers of those after it), for as long as the seed goes on failing; then tells the rest.
 */
static void minimize(const struct sim_job *job, int64_t seed)
{
	struct sim_options opt = job->opt;
	int n, *skip;
	char *text;
	struct sim_report report = { 0 };

	opt.trace = false;
	n = count_faults(&opt, seed);
	skip = calloc((size_t)n + 1, sizeof(*skip));
	if (!skip)
		return;
	opt.skip = skip;
	for (int id = n; id > 0; id--) {
		skip[opt.n_skip++] = id;
		if (!still_fails(&opt, seed))
			opt.n_skip--;
	}
	printf("seed %" PRId64 ": %d of %d faults and requests are needed; what remains:\n", seed,
	       n - (int)opt.n_skip, n);
	opt.trace = true;
	run_seed(&opt, seed, &report, &text);
	free(text);
	free(skip);
	sim_report_clear(&report);
}

static void tell_failure(const struct sim_job *job, struct sim_outcome *o, int64_t seed,
			 const char *text)
{
	o->n_failed++;
	if (o->first_failed == 0 || seed < o->first_failed)
		o->first_failed = seed;
	printf("%sseed %" PRId64 ": %s\n", job->progress ? "\r\033[K" : "", seed, text ? text : "");
	fflush(stdout);
}

static void tell_progress(const struct sim_job *job, const struct sim_outcome *o, int64_t done)
{
	int64_t all = job->last - job->first + 1;

	if (!job->progress || (done % 16 != 0 && done != all))
		return;
	fprintf(stderr, "\r\033[K%" PRId64 " of %" PRId64 " seeds, %" PRId64 " failed", done, all,
		o->n_failed);
	if (done == all)
		fprintf(stderr, "\r\033[K");
}

static int run_here(const struct sim_job *job, struct sim_outcome *o)
{
	for (int64_t seed = job->first; seed <= job->last; seed++) {
		char *text;

		if (!run_seed(&job->opt, seed, &o->report, &text)) {
			tell_failure(job, o, seed, text);
			if (job->minimize)
				minimize(job, seed);
		}
		free(text);
		tell_progress(job, o, seed - job->first + 1);
	}
	return 0;
}

/* ---- several processes ---- */

static void work(const struct sim_job *job, int worker, FILE *out)
{
	for (int64_t seed = job->first + worker; seed <= job->last; seed += job->workers) {
		struct record r = { .seed = seed };
		char *text;

		r.failed = !run_seed(&job->opt, seed, &r.counts, &text);
		r.text_len = text ? strlen(text) : 0;
		fwrite(&r, sizeof(r), 1, out);
		for (int k = 0; k < SIM_KIND_NR; k++)
			fwrite(r.counts.outages[k].ms, sizeof(int64_t), r.counts.outages[k].n, out);
		fwrite(text ? text : "", 1, r.text_len, out);
		fflush(out);
		free(text);
		sim_report_clear(&r.counts);
	}
}

/* Reads one record. 1; 0 at the end; -EIO. */
static int take(const struct sim_job *job, struct sim_outcome *o, FILE *in)
{
	struct record r;
	char *text = NULL;
	bool ok = true;

	if (fread(&r, sizeof(r), 1, in) != 1)
		return feof(in) ? 0 : -EIO;
	for (int k = 0; k < SIM_KIND_NR; k++) {
		struct sim_outages *s = &r.counts.outages[k];

		s->ms = s->n ? calloc(s->n, sizeof(*s->ms)) : NULL;
		s->cap = s->n;
		ok &= s->n == 0 || (s->ms && fread(s->ms, sizeof(*s->ms), s->n, in) == s->n);
	}
	text = calloc(1, r.text_len + 1);
	ok = ok && text && fread(text, 1, r.text_len, in) == r.text_len &&
	     sim_report_add(&o->report, &r.counts);
	sim_report_clear(&r.counts);
	if (ok && r.failed)
		tell_failure(job, o, r.seed, text);
	free(text);
	return ok ? 1 : -EIO;
}

static int collect(const struct sim_job *job, struct sim_outcome *o, FILE **in)
{
	struct pollfd fds[MAX_WORKERS];
	int open = job->workers, rc = 0;
	int64_t done = 0;

	for (int i = 0; i < job->workers; i++)
		fds[i] = (struct pollfd){ .fd = fileno(in[i]), .events = POLLIN };
	while (open > 0 && rc >= 0) {
		if (poll(fds, (nfds_t)job->workers, -1) < 0) {
			rc = errno == EINTR ? 0 : -errno;
			continue;
		}
		for (int i = 0; i < job->workers && rc >= 0; i++) {
			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			rc = take(job, o, in[i]);
			if (rc == 0) {
				fds[i].fd = -1;
				open--;
			} else if (rc > 0) {
				tell_progress(job, o, ++done);
			}
		}
	}
	return rc < 0 ? rc : done == job->last - job->first + 1 ? 0 : -EIO;
}

static int run_workers(const struct sim_job *job, struct sim_outcome *o)
{
	FILE *in[MAX_WORKERS];
	pid_t pids[MAX_WORKERS];
	int rc = 0, n = 0;

	fflush(stdout);
	for (; n < job->workers && rc == 0; n++) {
		int fd[2];

		if (pipe(fd) < 0)
			return -errno;
		pids[n] = fork();
		if (pids[n] == 0) {
			FILE *out = fdopen(fd[1], "w");

			if (out)
				work(job, n, out);
			_exit(out && fclose(out) == 0 ? 0 : 1);
		}
		close(fd[1]);
		in[n] = fdopen(fd[0], "r");
		if (pids[n] < 0 || !in[n])
			return -errno;
		/* Records are polled for one at a time: nothing may wait in a buffer. */
		setvbuf(in[n], NULL, _IONBF, 0);
	}
	rc = collect(job, o, in);
	for (int i = 0; i < n; i++) {
		fclose(in[i]);
		waitpid(pids[i], NULL, 0);
	}
	return rc;
}

int sim_runner_run(const struct sim_job *job, struct sim_outcome *ret)
{
	struct sim_job j = *job;
	int64_t all = j.last - j.first + 1;

	*ret = (struct sim_outcome){ 0 };
	if (j.workers > MAX_WORKERS)
		j.workers = MAX_WORKERS;
	if (j.workers > all)
		j.workers = (int)all;
	if (j.workers <= 1 || j.opt.trace || j.minimize)
		return run_here(&j, ret);
	return run_workers(&j, ret);
}
