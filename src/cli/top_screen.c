/* SPDX-License-Identifier: MIT */
#include "top_screen.h"

#include <errno.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"

enum {
        KEY_ESCAPE = 27,
        ESCAPE_MS = 50,       /* until a lone Esc is known to be one */
        FLOOD_MS = 100,       /* between frames that only have new events */
        COST_FACTOR = 4,      /* a sample takes a fifth of the time at most */
        KEYS_IN_A_TURN = 100, /* of somebody who leans on the keyboard */
};

struct screen {
        struct top_model *model;
        struct top_view *view;
        struct top_frame frame;
        uint64_t samples_left; /* 0: no limit */
        double due;            /* the next sample */
        double drawn;          /* the last frame */
        bool stale;            /* there is something new to draw */
        bool quit;
};

static volatile sig_atomic_t stopped;

static void on_stop(int number) {
        (void)number;
        stopped = 1;
}

/* Drawing */

static void setup_looks(int pairs[_TOP_LOOK_N]) {
        static const struct {
                enum top_look look;
                short color;
        } colors[] = {
                {TOP_BAR, COLOR_GREEN},      {TOP_BAR_HIGH, COLOR_YELLOW},
                {TOP_BAR_FULL, COLOR_RED},   {TOP_DIRECTORY, COLOR_CYAN},
                {TOP_RESTART, COLOR_YELLOW}, {TOP_POPULATING, COLOR_YELLOW},
        };
        const char *no_color = getenv("NO_COLOR");

        memset(pairs, 0, _TOP_LOOK_N * sizeof(*pairs));
        pairs[TOP_TITLE] = (int)A_BOLD;
        pairs[TOP_HEADING] = (int)A_REVERSE;
        pairs[TOP_SELECTED] = (int)(A_BOLD | A_UNDERLINE);
        if (!has_colors() || (no_color && *no_color) || start_color() == ERR)
                return;
        use_default_colors();
        for (size_t i = 0; i < sizeof(colors) / sizeof(*colors); i++) {
                init_pair((short)(i + 1), colors[i].color, -1);
                pairs[colors[i].look] = (int)COLOR_PAIR(i + 1);
        }
}

static void draw(struct screen *screen) {
        static int looks[_TOP_LOOK_N];
        static bool set_up;

        if (!set_up)
                setup_looks(looks);
        set_up = true;
        top_frame_clear(&screen->frame);
        top_frame_make(&screen->frame, screen->model, screen->view, (unsigned int)COLS,
                       (unsigned int)LINES);
        erase();
        for (size_t i = 0; i < screen->frame.n && (int)i < LINES; i++) {
                attrset(looks[screen->frame.lines[i].look]);
                /* Writing into the last cell reports an error, and does it all the same. */
                (void)mvaddstr((int)i, 0, screen->frame.lines[i].text);
        }
        attrset(A_NORMAL);
        refresh();
        screen->drawn = top_now();
        screen->stale = false;
}

/* Keys */

static void type_filter(struct top_view *view, int key) {
        size_t length = strlen(view->filter);

        if (key == KEY_ESCAPE || key == '\n' || key == '\r' || key == KEY_ENTER) {
                view->typing = false;
                if (key == KEY_ESCAPE)
                        view->filter[0] = '\0';
        } else if (key == KEY_BACKSPACE || key == 0x7f || key == '\b') {
                /* a whole character */
                while (length > 0 && ((unsigned char)view->filter[--length] & 0xc0) == 0x80)
                        ;
                view->filter[length] = '\0';
        } else if (key >= ' ' && key < 256 && length + 1 < sizeof(view->filter)) {
                view->filter[length] = (char)key;
                view->filter[length + 1] = '\0';
        }
}

static bool sort_key(struct top_view *view, int key) {
        static const char keys[] = "saguyn"; /* in the order of enum top_sort */
        const char *found = key > 0 && key < 128 ? strchr(keys, key) : NULL;

        if (!found)
                return false;
        view->sort = (enum top_sort)(found - keys);
        view->first = view->selected = 0;
        return true;
}

static void move_by(struct screen *screen, long by) {
        struct top_view *view = screen->view;
        long at = (long)view->selected + by, last = (long)screen->frame.n_rows - 1;

        at = at > last ? last : at;
        view->selected = at < 0 ? 0 : (size_t)at;
}

static void move_key(struct screen *screen, int key) {
        long page = screen->frame.page ? (long)screen->frame.page : 1;

        switch (key) {
        case KEY_UP:
        case 'k':
                move_by(screen, -1);
                break;
        case KEY_DOWN:
        case 'j':
                move_by(screen, 1);
                break;
        case KEY_PPAGE:
                move_by(screen, -page);
                break;
        case KEY_NPAGE:
                move_by(screen, page);
                break;
        case KEY_HOME:
                screen->view->selected = 0;
                break;
        case KEY_END:
                move_by(screen, (long)screen->frame.n_rows);
                break;
        default:
                break;
        }
}

static void change_interval(struct top_view *view, double factor) {
        view->interval *= factor;
        if (view->interval < 0.1)
                view->interval = 0.1;
        if (view->interval > 3600)
                view->interval = 3600;
}

static void view_key(struct screen *screen, int key) {
        struct top_view *view = screen->view;

        switch (key) {
        case 'q':
                screen->quit = true;
                break;
        case 'r':
                view->reverse = !view->reverse;
                break;
        case 't':
                view->tree = !view->tree;
                break;
        case 'p':
                view->paused = !view->paused;
                break;
        case '/':
                view->typing = true;
                break;
        case KEY_ESCAPE:
                view->filter[0] = '\0';
                break;
        case 'h':
        case '?':
                view->help = true;
                break;
        case '+':
                change_interval(view, 2);
                break;
        case '-':
                change_interval(view, 0.5);
                break;
        case ' ':
                screen->due = 0;
                break;
        case '\n':
        case '\r':
        case KEY_ENTER:
                draw(screen); /* keys before this one may have moved the selection */
                if (screen->frame.selected)
                        top_view_toggle(view, screen->frame.selected);
                break;
        default:
                if (!sort_key(view, key))
                        move_key(screen, key);
                break;
        }
}

static void take_key(struct screen *screen, int key) {
        if (screen->view->help)
                screen->view->help = false;
        else if (screen->view->typing)
                type_filter(screen->view, key);
        else
                view_key(screen, key);
}

static void take_keys(struct screen *screen) {
        for (int i = 0, key; i < KEYS_IN_A_TURN && (key = getch()) != ERR; i++) {
                if (key != KEY_RESIZE)
                        take_key(screen, key);
                screen->stale = true;
        }
}

/* The loop */

static void sample(struct screen *screen) {
        double pause = screen->view->interval;

        (void)top_model_sample(screen->model); /* the frame shows its error */
        if (pause * 1000 < (double)(screen->model->cost_ms * COST_FACTOR))
                pause = (double)(screen->model->cost_ms * COST_FACTOR) / 1000;
        screen->due = top_now() + pause;
        screen->stale = true;
        if (screen->samples_left > 0 && --screen->samples_left == 0)
                screen->quit = true;
}

/* Waits for a key, an event, or the next sample. */
static void await(struct screen *screen) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = -1}};
        double now = top_now(), left = screen->view->paused ? 3600 : screen->due - now;
        double calm = screen->drawn + FLOOD_MS / 1000.0 - now;

        if (screen->model->events_reader && calm <= 0)
                fds[1] = (struct pollfd){.fd = iomem_events_fd(screen->model->events_reader),
                                         .events = POLLIN};
        else if (screen->model->events_reader && calm < left)
                left = calm;
        if (poll(fds, 2, left > 0 ? (int)(left * 1000) + 1 : 0) > 0 &&
            (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)))
                screen->quit = true; /* the terminal has gone */
        if (fds[1].revents && top_model_take_events(screen->model) > 0)
                screen->stale = true;
        else if (fds[1].revents & (POLLHUP | POLLERR | POLLNVAL)) {
                iomem_events_close(screen->model->events_reader);
                screen->model->events_reader = NULL;
        }
}

static void loop(struct screen *screen) {
        while (!screen->quit && !stopped) {
                if (!screen->view->paused && top_now() >= screen->due)
                        sample(screen);
                take_keys(screen);
                if (screen->stale)
                        draw(screen);
                if (!screen->quit)
                        await(screen);
        }
}

static void catch_signals(void) {
        struct sigaction action = {.sa_handler = on_stop};

        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGHUP, &action, NULL);
}

int top_screen_run(struct top_model *model, struct top_view *view, uint64_t samples) {
        struct screen screen = {.model = model, .view = view, .samples_left = samples};
        const char *type = getenv("TERM");
        SCREEN *terminal;

        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
                return cli_misuse("top needs a terminal; to a file or a pipe, use top --batch");
        terminal = newterm(NULL, stdout, stdin);
        if (!terminal)
                return cli_fail("unknown terminal '%s'; set TERM, or use top --batch",
                                type ? type : "");
        catch_signals();
        set_escdelay(ESCAPE_MS);
        cbreak();
        noecho();
        nodelay(stdscr, TRUE);
        keypad(stdscr, TRUE);
        curs_set(0);
        loop(&screen);
        endwin();
        delscreen(terminal);
        top_frame_clear(&screen.frame);
        return EXIT_SUCCESS;
}
