#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <jansson.h>
#include <memory>
#include <string>

extern "C" {
#include "bench/profile.h"
#include "bench/samples.h"
}

namespace {

/* What `perf script --no-inline -F ip,sym,dso` printed of chorus-bench: of each
 * kind one or two, some of their frames left out. */
const char RECORDED[] = R"(
	ffffffff8201eb4b tcp_ack ([kernel.kallsyms])
	ffffffff820224d4 tcp_rcv_established ([kernel.kallsyms])
	ffffffff82034550 tcp_v4_do_rcv ([kernel.kallsyms])
	ffffffff820369a2 tcp_v4_rcv ([kernel.kallsyms])
	ffffffff81ff8438 ip_protocol_deliver_rcu ([kernel.kallsyms])
	ffffffff81ff8621 ip_local_deliver_finish ([kernel.kallsyms])
	ffffffff81e6869d __netif_receive_skb_one_core ([kernel.kallsyms])
	ffffffff81e68983 process_backlog ([kernel.kallsyms])
	ffffffff81e69061 __napi_poll ([kernel.kallsyms])
	           4ee80 turn (/opt/bin/chorus-bench)
	           5cae1 worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)


	ffffffff81b6c5b9 _copy_from_iter ([kernel.kallsyms])
	ffffffff82010783 tcp_sendmsg_locked ([kernel.kallsyms])
	ffffffff82010ddb tcp_sendmsg ([kernel.kallsyms])
	ffffffff81e2f6aa sock_sendmsg ([kernel.kallsyms])
	ffffffff81b62fa2 io_send ([kernel.kallsyms])
	ffffffff81b42c0b __io_issue_sqe ([kernel.kallsyms])
	ffffffff81b471f7 io_issue_sqe ([kernel.kallsyms])
	ffffffff81b47d32 io_submit_sqes ([kernel.kallsyms])
	ffffffff81b4834f __do_sys_io_uring_enter ([kernel.kallsyms])
	           4ee80 turn (/opt/bin/chorus-bench)
	           5cae1 worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)


	ffffffff813a4413 finish_task_switch.isra.0 ([kernel.kallsyms])
	ffffffff821faa94 __schedule ([kernel.kallsyms])
	ffffffff821fb643 schedule ([kernel.kallsyms])
	ffffffff81b46d9f io_cqring_wait ([kernel.kallsyms])
	ffffffff81b48646 __do_sys_io_uring_enter ([kernel.kallsyms])
	ffffffff821ef691 do_syscall_64 ([kernel.kallsyms])
	ffffffff81000130 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])
	            29f7 [unknown] (/usr/lib/x86_64-linux-gnu/liburing.so.2.3)
	            308b io_uring_submit_and_wait_timeout (/usr/lib/x86_64-linux-gnu/liburing.so.2.3)
	           4ee80 turn (/opt/bin/chorus-bench)
	           5cc6f worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)


	ffffffff81b51502 io_poll_task_func ([kernel.kallsyms])
	ffffffff81b42b5d __io_run_local_work_loop ([kernel.kallsyms])
	ffffffff81b461be __io_run_local_work ([kernel.kallsyms])
	ffffffff81b4678a io_cqring_wait ([kernel.kallsyms])
	ffffffff81b48646 __do_sys_io_uring_enter ([kernel.kallsyms])
	ffffffff821ef691 do_syscall_64 ([kernel.kallsyms])
	ffffffff81000130 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])
	            2b95 [unknown] (/usr/lib/x86_64-linux-gnu/liburing.so.2.3)
	           4ee80 turn (/opt/bin/chorus-bench)
	           5cb58 worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)


	          2686ed [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
	          2694f0 [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
	          2ff58a [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
	          2fef14 [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
	          208645 EVP_DecryptUpdate (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
	           35ad7 aead_open_iv (/opt/bin/chorus-bench)
	           35c02 aead_open (/opt/bin/chorus-bench)
	           3b4db noise_open (/opt/bin/chorus-bench)
	           6cfbd open_records (/opt/bin/chorus-bench)
	           4b211 actor_run (/opt/bin/chorus-bench)
	           5c998 worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)


	           416fd [unknown] (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	           419d0 [unknown] (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	            d31e crypto_aead_chacha20poly1305_ietf_decrypt_detached (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	           35a2a aead_open_iv (/opt/bin/chorus-bench)
	           35c02 aead_open (/opt/bin/chorus-bench)
	           3b4db noise_open (/opt/bin/chorus-bench)
	           6cfbd open_records (/opt/bin/chorus-bench)
	           6d53b feed (/opt/bin/chorus-bench)
	           6d8f5 session_received (/opt/bin/chorus-bench)
	           4b211 actor_run (/opt/bin/chorus-bench)
	           5c998 worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)


	           2a8db [unknown] (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	ffffffffffffffff [unknown] ([unknown])


	            ef62 [unknown] (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	            fd7e [unknown] (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	           132b3 [unknown] (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	           2fbcb [unknown] (/usr/lib/x86_64-linux-gnu/libsodium.so.23.3.0)
	           3ee0f make (/opt/bin/chorus-bench)
	           3f2cf x25519_pairs_take (/opt/bin/chorus-bench)
	           3b66b write_e (/opt/bin/chorus-bench)
	           3bc6a noise_xx_write (/opt/bin/chorus-bench)
	           3b1b0 noise_handshake_send (/opt/bin/chorus-bench)
	ffffffffffffffff [unknown] ([unknown])


	           6e71b session_sent (/opt/bin/chorus-bench)
	           49787 receive (/opt/bin/chorus-bench)
	           4783f receive (/opt/bin/chorus-bench)
	           4b211 actor_run (/opt/bin/chorus-bench)
	           5c998 worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)


	             b7c __vdso_clock_gettime ([vdso])
	           cf438 clock_gettime@@GLIBC_2.17 (/usr/lib/x86_64-linux-gnu/libc.so.6)
	           505d4 driver_kernel_now_ns (/opt/bin/chorus-bench)
	           5cdac worker_turn (/opt/bin/chorus-bench)
	           546e6 worker_main (/opt/bin/chorus-bench)
	           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)
)";

std::unique_ptr<samples> read(const std::string &text, const char *program = "chorus-bench")
{
    auto out = std::make_unique<samples>();
    FILE *file = fmemopen(const_cast<char *>(text.data()), text.size(), "r");

    samples_read(out.get(), file, program);
    fclose(file);
    return out;
}

unsigned count_of(const samples &all, const char *name)
{
    for (size_t i = 0; i < all.symbol_count; i++) {
        if (strcmp(all.symbols[i].name, name) == 0)
            return all.symbols[i].count;
    }
    return 0;
}

TEST(Samples, AreOfTheKindThatTheirCallsTell)
{
    auto all = read(RECORDED);

    EXPECT_EQ(all->count, 10u);
    EXPECT_EQ(all->kinds[SAMPLES_NETWORK], 1u);
    EXPECT_EQ(all->kinds[SAMPLES_COPIES], 1u);
    EXPECT_EQ(all->kinds[SAMPLES_WAKE], 1u);
    EXPECT_EQ(all->kinds[SAMPLES_KERNEL], 1u);
    EXPECT_EQ(all->kinds[SAMPLES_CIPHER], 2u);
    EXPECT_EQ(all->kinds[SAMPLES_HANDSHAKE], 2u);
    EXPECT_EQ(all->kinds[SAMPLES_OWN], 1u);
    EXPECT_EQ(all->kinds[SAMPLES_LIBRARIES], 1u);
}

TEST(Samples, FunctionsWithoutANameGoByTheirLibraryAndCaller)
{
    auto all = read(RECORDED);

    EXPECT_EQ(count_of(*all, "libcrypto.so.3 of aead_open_iv"), 1u);
    EXPECT_EQ(count_of(*all, "libsodium.so.23.3.0"), 1u) << "nobody is known to have called it";
    EXPECT_EQ(count_of(*all, "session_sent"), 1u);
    EXPECT_EQ(count_of(*all, "tcp_ack"), 1u);
}

TEST(Samples, TheMostFrequentComeFirst)
{
    auto all = read("\n 1 a (/x/p)\n\n 2 b (/x/p)\n 1 a (/x/p)\n\n 2 b (/x/p)\n\n 3 c d(int, e) (/x/p)\n", "p");

    ASSERT_EQ(all->symbol_count, 3u);
    EXPECT_STREQ(all->symbols[0].name, "b");
    EXPECT_EQ(all->symbols[0].count, 2u);
    EXPECT_STREQ(all->symbols[2].name, "c d(int, e)");
    EXPECT_EQ(all->kinds[SAMPLES_OWN], 4u);
}

TEST(Samples, WhatIsNoneIsPassedOver)
{
    std::string deep, many;

    for (int i = 0; i < 3000; i++) {
        deep += " ff f (/x/p)\n";
        many += " ff f" + std::to_string(i) + " (/x/p)\n\n";
    }
    for (const char *text : {"x", "\n\n\n", " 12", " 12 ", " 12 )(", " 12 a b", "(", " 12 (", " zz a (b)", " 12(a)"})
        EXPECT_EQ(read(text)->count, 0u) << text;
    EXPECT_EQ(read(std::string(10000, 'f') + " (a)\n")->count, 0u);
    EXPECT_EQ(read(deep)->count, 1u);
    EXPECT_EQ(read(" ff " + std::string(900, 'f') + " (/x/p)\n")->count, 1u);
    EXPECT_EQ(read(many)->count, 3000u);
    EXPECT_EQ(read(many)->symbol_count, size_t{SAMPLES_SYMBOLS_MAX});
    EXPECT_EQ(read(" ff [unknown] ([unknown])\n")->kinds[SAMPLES_LIBRARIES], 1u);
}

TEST(Profile, SharesAreOfAllSamples)
{
    auto all = read(RECORDED);
    std::unique_ptr<json_t, void (*)(json_t *)> told(profile_of(all.get(), 1), [](json_t *it) { json_decref(it); });
    json_t *shares = json_object_get(told.get(), "shares"), *share;
    const char *name;
    double sum = 0;

    json_object_foreach (shares, name, share)
        sum += json_number_value(share);
    EXPECT_NEAR(sum, 100, 1e-9);
    EXPECT_EQ(json_object_size(shares), size_t{SAMPLES_KINDS});
    EXPECT_NEAR(json_number_value(json_object_get(shares, "cipher")), 20, 1e-9);
    EXPECT_NEAR(json_number_value(json_object_get(told.get(), "cores")), 10.0 / PROFILE_HZ, 1e-9);
    EXPECT_EQ(json_array_size(json_object_get(told.get(), "symbols")), size_t{PROFILE_SYMBOLS});
    EXPECT_EQ(json_array_size(json_object_get(told.get(), "own")), 1u);
}

} // namespace
