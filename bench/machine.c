#include "machine.h"

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/if.h> /* after sys/socket.h */

#define CONGESTION "cubic"

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return written;
}

/* ---- A network of its own --------------------------------------------------------- */

/* Brings loopback up.  Its index, or 0. */
static int loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), index = 0;

    if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) == 0 && ioctl(fd, SIOCGIFINDEX, &request) == 0)
            index = request.ifr_ifindex;
    }
    if (fd >= 0)
        close(fd);
    return index;
}

struct route_request {
    struct nlmsghdr header;
    struct rtmsg route;
    char attributes[256];
};

static struct rtattr *add_attribute(struct route_request *request, unsigned short type, const void *data,
                                    unsigned short length)
{
    struct rtattr *attribute = (void *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));

    *attribute = (struct rtattr){.rta_type = type, .rta_len = (unsigned short)RTA_LENGTH(length)};
    if (length > 0)
        memcpy(RTA_DATA(attribute), data, length);
    request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
    return attribute;
}

/* A route of the table `local`, replaced by one that names the congestion
 * control: a namespace may choose for its routes what it may not for itself. */
static void congestion_by_route(int netlink, int lo, unsigned char prefix, const char *network)
{
    struct route_request request = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)), .nlmsg_type = RTM_NEWROUTE,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_REPLACE | NLM_F_ACK},
        .route = {.rtm_family = AF_INET, .rtm_dst_len = prefix, .rtm_table = RT_TABLE_LOCAL,
                  .rtm_protocol = RTPROT_KERNEL, .rtm_scope = RT_SCOPE_HOST, .rtm_type = RTN_LOCAL}};
    struct in_addr address = {htonl(INADDR_LOOPBACK)}, to = {inet_addr(network)};
    struct rtattr *metrics;
    char answer[512];

    add_attribute(&request, RTA_DST, &to, sizeof(to));
    add_attribute(&request, RTA_PREFSRC, &address, sizeof(address));
    add_attribute(&request, RTA_OIF, &lo, sizeof(lo));
    metrics = add_attribute(&request, RTA_METRICS, NULL, 0);
    add_attribute(&request, RTAX_CC_ALGO, CONGESTION, sizeof(CONGESTION));
    metrics->rta_len = (unsigned short)((char *)&request + request.header.nlmsg_len - (char *)metrics);
    /* What came of it is read from a connection: machine_facts(). */
    if (send(netlink, &request, request.header.nlmsg_len, 0) > 0)
        (void)recv(netlink, answer, sizeof(answer), 0);
}

static void choose_congestion(int lo)
{
    int netlink;

    if (write_file("/proc/sys/net/ipv4/tcp_congestion_control", CONGESTION))
        return;
    netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink < 0)
        return;
    congestion_by_route(netlink, lo, 8, "127.0.0.0");
    congestion_by_route(netlink, lo, 32, "127.0.0.1");
    close(netlink);
}

/* Root may make a namespace; others may where they may be root of their own. */
static bool unshare_network(void)
{
    char map[64];
    uid_t user = geteuid();
    gid_t group = getegid();

    if (unshare(CLONE_NEWNET) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)user);
    if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", map))
        return false;
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)group);
    return write_file("/proc/self/gid_map", map);
}

void machine_enter(struct machine_place *place)
{
    int lo;

    *place = (struct machine_place){.apart = false};
    if (!unshare_network()) {
        snprintf(place->reason, sizeof(place->reason), "no network namespace: %s", strerror(errno));
        return;
    }
    lo = loopback_up();
    if (lo == 0) /* there is no way back */
        bench_die("loopback of the new network namespace: %s; run with --no-namespace", strerror(errno));
    place->apart = true;
    /* A thousand connects a second leave their ports behind for a minute. */
    (void)write_file("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535");
    choose_congestion(lo);
}

void machine_raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections then */
}

/* ---- Facts --------------------------------------------------------------------------- */

static void congestion_of_a_connection(char out[32])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address), name_length = 31;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(out, 0, 32);
    if (listening < 0 || fd < 0 || bind(listening, (struct sockaddr *)&address, length) != 0 ||
        listen(listening, 1) != 0 || getsockname(listening, (struct sockaddr *)&address, &length) != 0 ||
        connect(fd, (struct sockaddr *)&address, length) != 0 ||
        getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, out, &name_length) != 0)
        snprintf(out, 32, "unknown");
    close(listening);
    close(fd);
}

static json_t *first_line(const char *path)
{
    char line[128] = "";
    FILE *file = fopen(path, "re");

    if (file != NULL && fgets(line, sizeof(line), file) == NULL)
        line[0] = '\0';
    if (file != NULL)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    for (char *tab = strchr(line, '\t'); tab != NULL; tab = strchr(tab, '\t'))
        *tab = ' ';
    return json_string(line);
}

static json_t *cpu_model(void)
{
    char line[256], model[256] = "unknown";
    FILE *file = fopen("/proc/cpuinfo", "re");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            snprintf(model, sizeof(model), "%s", strchr(line, ':') + 2);
            break;
        }
    }
    if (file != NULL)
        fclose(file);
    model[strcspn(model, "\n")] = '\0';
    return json_string(model);
}

static json_int_t memory_bytes(void)
{
    return (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

json_t *machine_facts(const struct machine_place *place)
{
    char congestion[32];
    struct utsname system;
    struct rlimit descriptors = {0};
    cpu_set_t set;

    CPU_ZERO(&set);
    (void)sched_getaffinity(0, sizeof(set), &set); /* none counted then */
    (void)getrlimit(RLIMIT_NOFILE, &descriptors);
    if (uname(&system) != 0)
        snprintf(system.release, sizeof(system.release), "unknown");
    congestion_of_a_connection(congestion);
    return json_pack("{s:o, s:i, s:s, s:s, s:I, s:s, s:b, s:s, s:o, s:o, s:I}", "cpu", cpu_model(), "cpus",
                     CPU_COUNT(&set), "kernel", system.release, "architecture", system.machine, "memory_bytes",
                     memory_bytes(), "congestion", congestion, "namespace", place->apart, "namespace_reason",
                     place->reason, "ports", first_line("/proc/sys/net/ipv4/ip_local_port_range"), "governor",
                     first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"), "descriptors",
                     (json_int_t)descriptors.rlim_cur);
}
