/* A slow disk: each sync begins as many microseconds late as SLOW_SYNC_US says.
 * Loaded before the C library, so that nothing but a sync is any slower. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int late(const char *name, int file) {
    const char *text = getenv("SLOW_SYNC_US");
    if (text)
        usleep((useconds_t)atoi(text));
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}

int fsync(int file) { return late("fsync", file); }
int fdatasync(int file) { return late("fdatasync", file); }
