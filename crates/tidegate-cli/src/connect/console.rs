//! Lines for the person at the terminal: on stderr, or above the prompt while they type. It never shows what could
//! act on the terminal, and leaves it as it was.

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, ExternalPrinter};
use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Says lines to a person. A clone says them at the same place.
#[derive(Clone)]
pub(crate) struct Console {
    /// Who prints above a prompt, while there is one.
    above: Arc<Mutex<Option<SyncSender<Said>>>>,
    colour: bool,
}

/// What the printer's thread is told.
enum Said {
    /// Print this.
    Lines(String),
    /// Answer once all before is on the screen.
    Flush(SyncSender<()>),
}

/// What a line is, for its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// What came from the server.
    Received,
    /// What we say of the connection.
    Notice,
    /// Something went wrong.
    Warning,
}

impl Console {
    /// On stderr.
    pub(crate) fn stderr(colour: bool) -> Console {
        Console {
            above: Arc::default(),
            colour,
        }
    }

    fn above(&self) -> Option<SyncSender<Said>> {
        let above = self.above.lock().unwrap_or_else(PoisonError::into_inner);
        above.clone()
    }

    /// Says a line, or several; always true, for callers that go on.
    pub(crate) fn say(&self, text: &str) -> bool {
        match self.above() {
            Some(above) if above.send(Said::Lines(format!("{text}\n"))).is_ok() => {}
            // Whoever closed stderr does not want to know.
            _ => drop(writeln!(std::io::stderr(), "{text}")),
        }
        true
    }

    /// Says a line in its colour.
    pub(crate) fn tell(&self, tone: Tone, text: &str) {
        self.say(&self.paint(tone, text));
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Received => "36",
            Tone::Notice => "2",
            Tone::Warning => "33",
        };
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Edits lines at a terminal.
pub(crate) struct Editor(rustyline::Editor<(), MemHistory>);

/// What a person has done.
pub(crate) enum Line {
    /// Typed a line.
    Typed(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
    /// The terminal is gone.
    Broken(String),
}

/// The terminal while it is edited on; [`Terminal::leave`] gives it back as it was.
pub(crate) struct Terminal {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Terminal {
    /// An editor, above whose prompt `console` speaks from now on, and the way back.
    ///
    /// # Errors
    /// What the terminal says.
    pub(crate) fn enter(console: &Console) -> Result<(Terminal, Editor), ReadlineError> {
        #[cfg(unix)]
        let before = rustix::termios::tcgetattr(std::io::stdin()).ok();
        let mut editor = rustyline::Editor::with_history(Config::default(), MemHistory::new())?;
        editor.set_auto_add_history(true);
        let mut above = editor.create_external_printer()?;
        let (sender, said) = sync_channel::<Said>(BACKLOG);
        thread::spawn(move || {
            for said in said {
                let printed = match said {
                    Said::Lines(lines) => above.print(lines),
                    Said::Flush(done) => {
                        // The editor takes one line at a time: when it has taken the second of these, all that
                        // came before them is on the screen. They go a line up and down again.
                        let nothing = || "\x1b[1A\n".to_owned();
                        let printed = above.print(nothing()).and_then(|()| above.print(nothing()));
                        let _ = done.send(()); // who asked may have given up
                        printed
                    }
                };
                if printed.is_err() {
                    return;
                }
            }
        });
        *console.above.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let terminal = Terminal {
            #[cfg(unix)]
            before,
        };
        Ok((terminal, Editor(editor)))
    }

    /// Gives the terminal back, though the editor may still wait for a key on its thread.
    pub(crate) fn leave(self, console: &Console) {
        let (done, all_printed) = sync_channel(1);
        if let Some(above) = console.above() {
            if above.try_send(Said::Flush(done)).is_ok() {
                let _ = all_printed.recv_timeout(PATIENCE);
            }
        }
        #[cfg(unix)]
        if let Some(before) = &self.before {
            let when = rustix::termios::OptionalActions::Flush;
            let _ = rustix::termios::tcsetattr(std::io::stdin(), when, before);
        }
        *console.above.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut stdout = std::io::stdout();
        // Back to the line's begin, without the prompt and without bracketed pastes.
        let _ = stdout
            .write_all(b"\r\x1b[K\x1b[?2004l")
            .and_then(|()| stdout.flush());
    }
}

impl Editor {
    /// Waits for a line.
    pub(crate) fn line(&mut self) -> Line {
        match self.0.readline("> ") {
            Ok(line) => Line::Typed(line),
            Err(ReadlineError::Interrupted) => Line::Interrupt,
            Err(ReadlineError::Eof) => Line::End,
            Err(error) => Line::Broken(format!("the terminal cannot be read: {error}")),
        }
    }
}

/// Lines that wait to be printed; then whoever has more waits.
const BACKLOG: usize = 256;
/// How long the editor may take to print what was said last.
const PATIENCE: Duration = Duration::from_millis(500);
