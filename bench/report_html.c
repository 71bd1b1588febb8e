#include "report.h"

#include "bench.h"
#include "plots.h"
#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One file with everything in it: tables, pictures, style. */

static const char style[] =
    ":root{color-scheme:light dark;--fg:#1c2330;--dim:#667085;--bg:#fbfbfd;--card:#fff;--line:#e3e6ec;--good:#17803d;"
    "--bad:#c2410c;--ours:#3b5bdb}\n"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6e9ef;--dim:#98a2b3;--bg:#12151c;--card:#1a1f2b;--line:#2b3140;"
    "--good:#4ade80;--bad:#fb923c;--ours:#8ea2ff}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}\n"
    "main{max-width:1180px;margin:0 auto;padding:2.5rem 1.25rem 4rem}h1{font-size:1.9rem;margin:0 0 .3rem}"
    "h2{margin:2.6rem 0 .8rem;font-size:1.25rem}p{margin:.3rem 0;color:var(--dim);max-width:75ch}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(170px,1fr));gap:.8rem;margin:1.6rem 0}"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:.9rem 1rem}"
    ".card b{display:block;font-size:1.75rem;line-height:1.2;color:var(--ours);font-variant-numeric:tabular-nums}"
    ".card span{color:var(--dim);font-size:.85rem}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1rem}"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:.6rem}"
    "figure svg{width:100%;height:auto;display:block}figure svg text{fill:var(--fg)}\n"
    ".table{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:12px}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{padding:.42rem .8rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
    "th{font-weight:600;color:var(--dim);font-size:.82rem;vertical-align:bottom;white-space:normal}"
    "th:first-child,td:first-child{text-align:left}tr:last-child td{border-bottom:0}"
    "tr.own td{font-weight:600;color:var(--ours)}td.good{color:var(--good);font-weight:600}"
    "td.bad{color:var(--bad);font-weight:600}tr.note td{text-align:left;white-space:normal;color:var(--dim);"
    "font-size:.85rem;padding-top:0}\n"
    ".partial{border:1px solid var(--bad);border-left-width:6px;border-radius:12px;padding:.8rem 1rem;margin:1.2rem 0}"
    "details{margin:.6rem 0}summary{cursor:pointer;font-weight:600;padding:.3rem 0}li{color:var(--dim)}\n";

static void text(FILE *file, const char *words)
{
    for (; *words != '\0'; words++) {
        switch (*words) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            fputc(*words, file);
        }
    }
}

static void element(FILE *file, const char *name, const char *words)
{
    fprintf(file, "<%s>", name);
    text(file, words);
    fprintf(file, "</%.*s>\n", (int)strcspn(name, " "), name);
}

/* ---- Tables ------------------------------------------------------------------------------ */

static void table_line(FILE *file, const struct report_table *table, size_t line, bool verdicts)
{
    fputs(!verdicts && table->good[line] ? "<tr class=\"own\">" : "<tr>", file);
    for (size_t c = 0; c < table->columns; c++) {
        bool verdict = verdicts && c == 3;

        element(file, !verdict ? "td" : table->bad[line] ? "td class=\"bad\"" : "td class=\"good\"",
                table->cells[line][c]);
    }
    fputs("</tr>\n", file);
    if (table->note[line][0] == '\0')
        return;
    fprintf(file, "<tr class=\"note\"><td colspan=\"%zu\">", table->columns);
    text(file, table->note[line]);
    fputs("</td></tr>\n", file);
}

static void html_table(FILE *file, const struct report_table *table, bool verdicts)
{
    fputs("<div class=\"table\"><table><thead><tr>", file);
    for (size_t c = 0; c < table->columns; c++)
        element(file, "th", table->head[c]);
    fputs("</tr></thead><tbody>\n", file);
    for (size_t l = 0; l < table->lines; l++)
        table_line(file, table, l, verdicts);
    fputs("</tbody></table></div>\n", file);
}

/* ---- At a glance --------------------------------------------------------------------------- */

static void card(FILE *file, const char *figure, const char *words)
{
    fputs("<div class=\"card\">", file);
    element(file, "b", figure);
    element(file, "span", words);
    fputs("</div>\n", file);
}

static void ratio_card(FILE *file, const json_t *results, const char *row, const char *peer, const char *what)
{
    double ratio = results_median(results, row, "ours", "ours", "rate") /
                   results_median(results, row, peer, peer, "rate");
    char figure[32], words[128];

    if (!isfinite(ratio))
        return;
    snprintf(figure, sizeof(figure), "%.1f×", ratio);
    snprintf(words, sizeof(words), "%s of %s", what, peer);
    card(file, figure, words);
}

static void cards(FILE *file, const json_t *results)
{
    static const char *const rows[][2] = {{"bulk-up", "the bulk throughput"}, {"handshake-50", "the connects a second"},
                                          {"rr-32-100", "the requests a second"},
                                          {"streams-32", "the streams a second"}};
    static const char *const peers[] = {"go", "rust", "js"};
    double memory = results_median(results, "idle-10000", "ours", "ours", "memory");
    double limit = results_median(results, "bulk-up", "ours", "ours", "rate") /
                   results_median(results, "bulk-up", "raw-aead", "raw-aead", "rate");
    char figure[64];

    fputs("<div class=\"cards\">\n", file);
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        for (size_t p = 0; p < sizeof(peers) / sizeof(peers[0]); p++)
            ratio_card(file, results, rows[r][0], peers[p], rows[r][1]);
    }
    if (isfinite(limit)) {
        snprintf(figure, sizeof(figure), "%.0f %%", limit * 100);
        card(file, figure, "of plain TCP with the same cipher, one stream");
    }
    if (isfinite(memory)) {
        results_print(figure, sizeof(figure) - 2, memory);
        strcat(figure, " B");
        card(file, figure, "user memory of an idle connection");
    }
    fputs("</div>\n", file);
}

/* ---- Pictures -------------------------------------------------------------------------------- */

static void pictures(FILE *file, const json_t *results)
{
    element(file, "h2", "Pictures");
    if (!plots_available()) {
        element(file, "p", "gnuplot is not installed: no pictures were drawn.");
        return;
    }
    fputs("<div class=\"plots\">\n", file);
    for (size_t i = 0; i < plots_count(); i++) {
        char *svg = plots_draw(results, i, false);

        if (svg != NULL)
            fprintf(file, "<figure>%s</figure>\n", svg);
        free(svg);
    }
    fputs("</div>\n", file);
    element(file, "p", "Medians, with the least and the most of all runs. The references raw and raw-aead are plain C "
                       "on sockets, without and with the cipher.");
}

bool report_write_plots(const json_t *results, const char *folder)
{
    bool written = plots_available();

    if (!written)
        fprintf(stderr, "chorus-bench: gnuplot is not installed\n");
    for (size_t i = 0; i < plots_count() && written; i++) {
        char *svg = plots_draw(results, i, true), *path = NULL;
        FILE *file;

        if (svg == NULL)
            continue;
        file = asprintf(&path, "%s/%s.svg", folder, plots_name(i)) > 0 ? fopen(path, "we") : NULL;
        written = file != NULL && fprintf(file, "%s\n", svg) > 0;
        written = file != NULL && fclose(file) == 0 && written;
        if (!written)
            fprintf(stderr, "chorus-bench: cannot write %s/%s.svg\n", folder, plots_name(i));
        free(path);
        free(svg);
    }
    return written;
}

/* ---- The page ---------------------------------------------------------------------------------- */

static void list_entry(FILE *file, const char *words)
{
    element(file, "li", words);
}

static void head(FILE *file, const json_t *results)
{
    char words[1024];

    fprintf(file, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta name=\"viewport\" content=\"width=device-width\"><title>chorus-bench</title>\n"
                  "<style>\n%s</style></head><body><main>\n", style);
    element(file, "h1", "libp2p nodes, side by side");
    snprintf(words, sizeof(words), "chorus-bench %s, %s.", results_string(results, "version"),
             results_string(results, "created"));
    element(file, "p", words);
    report_machine(words, sizeof(words), results);
    element(file, "p", words);
    report_method(words, sizeof(words), results);
    element(file, "p", words);
    if (report_is_partial(results))
        fputs("<div class=\"partial\"><b>This report is partial.</b> What is missing:<ul>\n", file);
    else
        fputs("<ul>\n", file);
    report_missing(results, list_entry, file);
    fputs(report_is_partial(results) ? "</ul></div>\n" : "</ul>\n", file);
}

void report_html(FILE *file, const json_t *results)
{
    const json_t *rows = json_object_get(results, "rows"), *row;
    struct report_table *table = malloc(sizeof(*table));
    size_t index;

    if (table == NULL)
        bench_die("no memory for a report");
    head(file, results);
    cards(file, results);
    pictures(file, results);
    report_targets(table, results);
    if (table->lines > 0) {
        element(file, "h2", "Targets");
        html_table(file, table, true);
    }
    element(file, "h2", "Programs");
    report_sides(table, results);
    html_table(file, table, false);
    element(file, "h2", "All figures");
    json_array_foreach (rows, index, row) {
        report_row(table, row);
        fputs("<details>", file);
        element(file, "summary", table->title);
        html_table(file, table, false);
        fputs("</details>\n", file);
    }
    fputs("</main></body></html>\n", file);
    free(table);
}
