#include "report.h"

#include "bench.h"
#include "plots.h"
#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One file with everything in it: tables, pictures, style. */

static const char style[] =
    ":root{color-scheme:light dark;--fg:#1c2330;--dim:#667085;--bg:#f7f8fa;--card:#fff;--line:#e3e6ec;--good:#17803d;"
    "--bad:#c2410c;--ours:#3b5bdb}\n"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6e9ef;--dim:#98a2b3;--bg:#12151c;--card:#1a1f2b;--line:#2b3140;"
    "--good:#4ade80;--bad:#fb923c;--ours:#8ea2ff}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}\n"
    "main{max-width:1240px;margin:0 auto;padding:2.5rem 1.25rem 4rem}h1{font-size:1.9rem;margin:0 0 .3rem}"
    "h2{margin:2.6rem 0 .8rem;font-size:1.25rem}p{margin:.3rem 0;color:var(--dim);max-width:90ch}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:1rem;margin:1.8rem 0 .8rem}"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem 1.2rem}"
    ".card>span{color:var(--dim);font-size:.88rem}"
    ".card b{display:block;font-size:2rem;line-height:1.25;color:var(--ours);font-variant-numeric:tabular-nums}"
    ".card small{font-size:.95rem;font-weight:400;color:var(--dim)}"
    ".card ul{display:flex;flex-wrap:wrap;gap:.4rem;list-style:none;margin:.5rem 0 0;padding:0}"
    ".card li{color:var(--fg);font-size:.85rem;border:1px solid var(--line);border-radius:99px;padding:.05rem .6rem}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:1rem}"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:.9rem 1rem .6rem}"
    "figcaption{color:var(--dim);font-size:.85rem;padding-left:.3rem}"
    "figcaption b{color:var(--fg);font-size:1rem;margin-right:.5rem}"
    "figure svg{width:100%;height:auto;display:block}figure svg text{fill:var(--fg)}\n"
    ".table{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:12px}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{padding:.42rem .8rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
    "th{font-weight:600;color:var(--dim);font-size:.82rem;vertical-align:bottom;white-space:normal}"
    "th:first-child,td:first-child{text-align:left}tr:last-child td{border-bottom:0}"
    "tr.own td{font-weight:600;color:var(--ours)}td.good{color:var(--good);font-weight:600}"
    "td.bad{color:var(--bad);font-weight:600}tr.note td{text-align:left;white-space:normal;color:var(--dim);"
    "font-size:.85rem;padding-top:0}tr.noted td{border-bottom:0}\n"
    ".partial{border:1px solid var(--bad);border-left-width:6px;border-radius:12px;padding:.8rem 1rem;margin:1.2rem 0}"
    ".warn{color:var(--bad)}details{margin:.6rem 0}summary{cursor:pointer;font-weight:600;padding:.3rem 0}"
    "li{color:var(--dim)}\n";

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
        case '\'':
            fputs("&#39;", file);
            break;
        default:
            fputc((unsigned char)*words < ' ' ? ' ' : *words, file); /* a page may hold no other control characters */
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
    bool noted = table->note[line][0] != '\0', own = !verdicts && table->good[line];

    fprintf(file, own || noted ? "<tr class=\"%s%s\">" : "<tr>", own ? "own" : "", noted ? " noted" : "");
    for (size_t c = 0; c < table->columns; c++) {
        bool verdict = verdicts && c == 3;

        element(file, !verdict ? "td" : table->bad[line] ? "td class=\"bad\"" : "td class=\"good\"",
                table->cells[line][c]);
    }
    fputs("</tr>\n", file);
    if (!noted)
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

/* What a card shows: one figure of ours, and its ratio to that of each other
 * program, above 1 where ours is better. */
struct headline {
    const char *row, *figure, *words, *unit;
    bool less;
};

/* Of fewer runs than were to be made, it is no headline. */
static double own_median(const json_t *results, const struct headline *headline, const char *program)
{
    const json_t *series = results_find_own_series(results_find_row(results, headline->row), program);

    if (results_is_partial(results, headline->row, series))
        return NAN;
    return results_number(results_find_figure(series, headline->figure), "median");
}

static void card_ratio(FILE *file, double ours, double other, bool less, const char *name)
{
    char words[128];
    double ratio = less ? other / ours : ours / other;

    if (!isfinite(ratio))
        return;
    snprintf(words, sizeof(words), ratio < 0.095 ? "%.2g× %s" : ratio < 9.95 ? "%.1f× %s" : "%.0f× %s", ratio, name);
    element(file, "li", words);
}

static void card(FILE *file, const json_t *results, const struct headline *headline)
{
    json_t *sides = json_object_get(results, "sides"), *side;
    double ours = own_median(results, headline, "ours");
    char figure[48];
    const char *name;

    if (!isfinite(ours))
        return;
    results_print(figure, sizeof(figure), ours);
    fputs("<div class=\"card\">", file);
    element(file, "span", headline->words);
    fputs("<b>", file);
    text(file, figure);
    fprintf(file, " <small>%s</small></b><ul>", headline->unit);
    json_object_foreach (sides, name, side) {
        if (!plan_own_name(name))
            card_ratio(file, ours, own_median(results, headline, name), headline->less, name);
    }
    if (isfinite(own_median(results, headline, "raw-aead")))
        card_ratio(file, ours, own_median(results, headline, "raw-aead"), headline->less, "TCP + cipher");
    else
        card_ratio(file, ours, own_median(results, headline, "raw"), headline->less, "plain TCP");
    fputs("</ul></div>\n", file);
}

static void cards(FILE *file, const json_t *results)
{
    static const struct headline headlines[] = {
        {"bulk-up", "rate", "bulk, one stream", "MB/s", false},
        {"rr-32-100", "rate", "32 B there and back, 100 connections", "a second", false},
        {"handshake-50", "rate", "full connects of known peers, 50 at a time", "a second", false},
        {"handshake-50-distinct", "rate", "full connects of new peers, 50 at a time", "a second", false},
        {"streams-32", "rate", "new streams, 32 at a time", "a second", false},
        {"rtt", "p50", "ping, median", "us", true},
        {"idle-10000", "memory", "user memory of each of 10,000 idle connections", "B", true},
        {"idle-500", "memory", "user memory of each of 500 idle connections", "B", true}, /* of the quick rows */
    };
    size_t count = sizeof(headlines) / sizeof(headlines[0]);
    bool any = false;

    if (isfinite(own_median(results, &headlines[count - 2], "ours")))
        count--;
    for (size_t i = 0; i < count; i++)
        any = any || isfinite(own_median(results, &headlines[i], "ours"));
    if (!any)
        return;
    fputs("<div class=\"cards\">\n", file);
    for (size_t i = 0; i < count; i++)
        card(file, results, &headlines[i]);
    fputs("</div>\n", file);
    element(file, "p", "Figures are of chorus-p2p with itself. Beside each, how another program compares: 2× is where "
                       "ours is twice as good, 0.5× where it is half as good. The others are measured with their own "
                       "kind, but with ours dialling where they hold idle connections. TCP + cipher is plain C on "
                       "sockets with the same cipher.");
}

/* ---- Targets --------------------------------------------------------------------------------- */

/* Those that are missed in sight, the others folded. */
static void targets(FILE *file, const json_t *results, struct report_table *table)
{
    struct report_table *part = malloc(sizeof(*part));
    char words[128];

    if (part == NULL)
        bench_die("no memory for a report");
    report_targets(table, results);
    report_verdict(words, sizeof(words), results);
    if (table->lines > 0)
        element(file, "h2", words);
    for (int met = 0; met < 2 && table->lines > 0; met++) {
        *part = *table;
        part->lines = 0;
        for (size_t l = 0; l < table->lines; l++) {
            if (table->good[l] == (met == 1))
                report_copy_line(part, table, l);
        }
        if (part->lines == 0)
            continue;
        fprintf(file, met == 1 ? "<details><summary>%zu met</summary>" : "<details open><summary>%zu missed</summary>",
                part->lines);
        html_table(file, part, true);
        fputs("</details>\n", file);
    }
    free(part);
}

static void profiles(FILE *file, const json_t *results, struct report_table *table)
{
    const json_t *profile;
    char words[1024];
    size_t index;

    report_about_profiles(words, sizeof(words), results);
    if (*words == '\0')
        return;
    element(file, "h2", "Profiles");
    element(file, "p", words);
    json_array_foreach (json_object_get(results, "profiles"), index, profile) {
        report_profile(table, profile);
        fputs("<details>", file);
        element(file, "summary", table->title);
        html_table(file, table, false);
        report_functions(table, profile);
        html_table(file, table, false);
        fputs("</details>\n", file);
    }
}

/* ---- Pictures -------------------------------------------------------------------------------- */

static void picture(FILE *file, const json_t *results, const struct plots_plot *plot)
{
    char *svg = plots_draw(results, plot, false);

    if (svg == NULL)
        return;
    fputs("<figure><figcaption><b>", file);
    text(file, plot->title);
    fputs("</b> ", file);
    text(file, plot->unit);
    fprintf(file, ", %s is better</figcaption>%s</figure>\n", plot->less ? "less" : "more", svg);
    free(svg);
}

static void pictures(FILE *file, const json_t *results)
{
    const struct plots_plot *plots;
    size_t count = plots_all(&plots);

    element(file, "h2", "Pictures");
    if (!plots_available()) {
        element(file, "p", "gnuplot is not installed: no pictures were drawn.");
        return;
    }
    fputs("<div class=\"plots\">\n", file);
    for (size_t i = 0; i < count; i++)
        picture(file, results, &plots[i]);
    fputs("</div>\n", file);
    element(file, "p", "Medians; thin lines go from the least to the most of all runs. Dashed lines are references, "
                       "plain C on sockets: what the machine allows.");
}

static bool write_plot(const json_t *results, const char *folder, const struct plots_plot *plot, bool needed)
{
    char *svg = plots_draw(results, plot, true), *path = NULL;
    FILE *file = svg != NULL && asprintf(&path, "%s/%s.svg", folder, plot->name) > 0 ? fopen(path, "we") : NULL;
    bool written = file != NULL && fprintf(file, "%s\n", svg) > 0;

    written = file != NULL && fclose(file) == 0 && written;
    if (svg == NULL && needed)
        fprintf(stderr, "chorus-bench: the results have nothing for the picture '%s'\n", plot->name);
    else if (svg != NULL && !written)
        fprintf(stderr, "chorus-bench: cannot write %s/%s.svg\n", folder, plot->name);
    free(path);
    free(svg);
    return written || (svg == NULL && !needed);
}

bool report_write_plots(const json_t *results, const char *folder, const char *const *names, size_t name_count)
{
    const struct plots_plot *plots;
    size_t count = plots_all(&plots);
    bool written = plots_available();

    if (!written)
        fprintf(stderr, "chorus-bench: gnuplot is not installed\n");
    for (size_t i = 0; i < count && written && name_count == 0; i++)
        written = write_plot(results, folder, &plots[i], false);
    for (size_t i = 0; i < name_count && written; i++)
        written = write_plot(results, folder, plots_find(names[i]), true);
    return written;
}

/* ---- The page ---------------------------------------------------------------------------------- */

static void list_entry(FILE *file, const char *words)
{
    element(file, "li", words);
}

static void head(FILE *file, const json_t *results)
{
    const json_t *missing = json_object_get(results, "missing"), *skipped = json_object_get(results, "skipped");
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
    report_disturbed(words, sizeof(words), results);
    if (*words != '\0')
        element(file, "p class=\"warn\"", words);
    if (report_is_partial(results))
        fputs("<div class=\"partial\"><b>This report is partial.</b> What is missing:\n", file);
    if (json_array_size(missing) + json_array_size(skipped) > 0) {
        fputs("<ul>\n", file);
        report_missing(results, list_entry, file);
        fputs("</ul>\n", file);
    }
    if (report_is_partial(results))
        fputs("</div>\n", file);
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
    targets(file, results, table);
    profiles(file, results, table);
    pictures(file, results);
    element(file, "h2", "Programs");
    report_sides(table, results);
    html_table(file, table, false);
    element(file, "h2", "All figures");
    json_array_foreach (rows, index, row) {
        report_row(table, results, row);
        fputs("<details>", file);
        element(file, "summary", table->title);
        html_table(file, table, false);
        fputs("</details>\n", file);
    }
    fputs("</main></body></html>\n", file);
    free(table);
}
