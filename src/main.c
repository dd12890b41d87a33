/*
 * main.c - one executable; the first argument, or the name it is called by, picks the program.
 */
#include <stdio.h>
#include <string.h>

static const char usage[] =
	"pgherd: PostgreSQL that scales out, stays up and answers on one address\n"
	"\n"
	"Usage:\n"
	"  pgherd COMMAND [ARGUMENTS]\n"
	"  pgherd --help | --version\n";

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		printf("pgherd %s\n", PGHERD_VERSION);
		return 0;
	}
	fputs(usage, argc > 1 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
	return argc > 1 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
}
