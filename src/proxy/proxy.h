/*
 * proxy/proxy.h - "pgherd proxy [OPTIONS] FILE.ini", also when called as pgbouncer.
 */
#pragma once

int herd_proxy_main(int argc, char **argv);
