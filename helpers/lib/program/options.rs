//! The command line of a program as a table: its options, their help, and how shells complete them.
//!
//! The table is the only list of a program's options. Arguments are read according to it: an option that is not in it
//! is refused, and one that takes a value always has one. `--help`, `--version` and `--help=table`, which the
//! completions in `helpers/completions` use, are generated from it, and `tests/programs.rs` compares it with the man
//! page.

use std::ffi::OsString;
use std::fmt::Write;
use std::str::FromStr;

use lexopt::ValueExt;

use crate::error::{Error, Result};

/// Imports for `parse` functions.
pub mod prelude {
    pub use super::Argument::{self, Flag, Operand, Valued};
    pub use super::parse_unshown;
    pub use lexopt::ValueExt;
}

/// Parses a value that may be secret: what is wrong with it, and where more is said of it, is said by the parser, and it is
/// not shown beside that.
pub fn parse_unshown<T: FromStr<Err = Error>>(value: OsString) -> Result<T, lexopt::Error> {
    value.string()?.parse().map_err(|e: Error| lexopt::Error::Custom(Box::new(e)))
}

/// Lines of usage texts are shorter than this.
const WIDTH: usize = 90;
/// If the names of an option are longer than this, its help is on the next line.
const COLUMN: usize = 20;

/// The description of a program and its command line.
pub struct Program {
    /// Name of the program, its man page and its log identifier.
    pub name: &'static str,
    /// The arguments, one string for each way to call the program.
    pub synopsis: &'static [&'static str],
    /// What the program does: paragraphs separated by empty lines.
    pub about: &'static str,
    /// All options except for `--help` and `--version`, which every program has.
    pub options: &'static [Opt],
    /// How operands are completed, unless an option says otherwise.
    pub operands: Completes,
    /// All exit statuses of the program.
    pub statuses: &'static [u8],
}

/// An option of a program.
#[derive(Clone, Copy)]
pub struct Opt {
    /// Long name, without dashes.
    pub long: &'static str,
    /// Short name, if it has one.
    pub short: Option<char>,
    /// Name of its value in the usage text, if it takes one.
    pub value: Option<&'static str>,
    /// What the option does, in lower case and without a full stop.
    pub help: &'static str,
    /// How its value is completed.
    pub completes: Completes,
    /// How operands are completed when the option is given, if differently.
    pub operands: Option<Completes>,
    /// Whether the option is for internal use, and not shown.
    pub hidden: bool,
}

/// How a value or an operand is completed.
#[derive(Clone, Copy)]
pub enum Completes {
    /// Not at all.
    Nothing,
    /// A path.
    File,
    /// A path of a directory.
    Directory,
    /// The name of an installed container.
    Container,
    /// The name of an image in the store.
    Image,
    /// One of these words; those that end in `=`, `:` or `/` only begin a value.
    Words(&'static [&'static str]),
    /// Like [`Completes::Words`], with a list from elsewhere.
    Listed(fn() -> Vec<&'static str>),
}

impl Opt {
    /// An option without a value.
    pub const fn flag(long: &'static str, help: &'static str) -> Opt {
        Opt {
            long,
            short: None,
            value: None,
            help,
            completes: Completes::Nothing,
            operands: None,
            hidden: false,
        }
    }

    /// An option with a value.
    pub const fn valued(long: &'static str, value: &'static str, help: &'static str) -> Opt {
        Opt { value: Some(value), ..Opt::flag(long, help) }
    }

    /// The option `--root=DIR`.
    pub const fn root(help: &'static str) -> Opt {
        Opt::valued("root", "DIR", help).completes(Completes::Directory)
    }

    /// The option `--repo=DIR`.
    pub const fn repo(help: &'static str) -> Opt {
        Opt::valued("repo", "DIR", help).completes(Completes::Directory)
    }

    /// Adds a short name.
    pub const fn short(self, short: char) -> Opt {
        Opt { short: Some(short), ..self }
    }

    /// Sets how the value is completed.
    pub const fn completes(self, completes: Completes) -> Opt {
        Opt { completes, ..self }
    }

    /// Sets how operands are completed when the option is given.
    pub const fn operands(self, operands: Completes) -> Opt {
        Opt { operands: Some(operands), ..self }
    }

    /// Hides the option, which is for internal use.
    pub const fn hidden(self) -> Opt {
        Opt { hidden: true, ..self }
    }

    fn names(&self) -> String {
        let short = self.short.map(|short| format!("-{short}, ")).unwrap_or_default();
        let value = self.value.map(|value| format!("={value}")).unwrap_or_default();
        format!("{short}--{}{value}", self.long)
    }
}

/// Options of every program.
const COMMON: [Opt; 2] =
    [Opt::flag("help", "show this help").short('h'), Opt::flag("version", "show the version")];

/// An argument of a command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Argument {
    /// An option without a value, by its long name.
    Flag(&'static str),
    /// An option with its value.
    Valued(&'static str, OsString),
    /// Any other argument.
    Operand(OsString),
}

impl Argument {
    /// The error about an argument that is not allowed here.
    pub fn unexpected(self) -> lexopt::Error {
        match self {
            Argument::Flag(long) | Argument::Valued(long, _) => {
                format!("unexpected option '--{long}'").into()
            }
            Argument::Operand(value) => lexopt::Error::UnexpectedArgument(value),
        }
    }
}

/// What a command line asks for.
pub enum Request {
    /// Run the program with these arguments.
    Run(Vec<Argument>),
    /// Print this text.
    Print(String),
}

impl Program {
    /// Reads a command line according to the table.
    pub fn read(&self, mut parser: lexopt::Parser) -> Result<Request, lexopt::Error> {
        let mut arguments = Vec::new();
        while let Some(argument) = parser.next()? {
            match argument {
                lexopt::Arg::Short('h') => return Ok(Request::Print(self.usage())),
                lexopt::Arg::Long("help") => return self.help(parser.optional_value()).map(Request::Print),
                lexopt::Arg::Long("version") => {
                    return Ok(Request::Print(format!("{} {}\n", self.name, env!("CARGO_PKG_VERSION"))));
                }
                lexopt::Arg::Value(value) => arguments.push(Argument::Operand(value)),
                option => {
                    let found = self.find(&option).ok_or_else(|| option.unexpected())?;
                    arguments.push(match found.value {
                        Some(_) => Argument::Valued(found.long, parser.value()?),
                        None => Argument::Flag(found.long),
                    });
                }
            }
        }
        Ok(Request::Run(arguments))
    }

    fn find(&self, argument: &lexopt::Arg<'_>) -> Option<&'static Opt> {
        self.options.iter().find(|option| match argument {
            lexopt::Arg::Long(long) => option.long == *long,
            lexopt::Arg::Short(short) => option.short == Some(*short),
            lexopt::Arg::Value(_) => false,
        })
    }

    fn help(&self, form: Option<OsString>) -> Result<String, lexopt::Error> {
        match form {
            None => Ok(self.usage()),
            Some(form) if form == "table" => Ok(self.table()),
            Some(value) => Err(lexopt::Error::UnexpectedValue { option: "--help".into(), value }),
        }
    }

    /// All options that are shown.
    fn shown(&self) -> impl Iterator<Item = &Opt> {
        self.options.iter().filter(|option| !option.hidden).chain(&COMMON)
    }

    /// The text of `--help`.
    pub fn usage(&self) -> String {
        let mut out = String::new();
        for (number, synopsis) in self.synopsis.iter().enumerate() {
            let begin = if number == 0 { "Usage:" } else { "      " };
            out.push_str(format!("{begin} {} {synopsis}", self.name).trim_end());
            out.push('\n');
        }
        let about = format!("{} See {}(8).", self.about, self.name);
        for paragraph in about.split("\n\n") {
            out.push('\n');
            wrap(&mut out, paragraph, 0, 0);
        }
        out.push('\n');
        let widths = self.shown().map(|option| option.names().len());
        let column = widths.filter(|width| *width <= COLUMN).max().unwrap_or(COLUMN);
        for option in self.shown() {
            let names = option.names();
            let begin = if names.len() <= column {
                let _ = write!(out, "  {names:column$}  ");
                column + 4
            } else {
                let _ = writeln!(out, "  {names}");
                0
            };
            wrap(&mut out, option.help, column + 4, begin);
        }
        out
    }

    /// The text of `--help=table`: a line for each option with fields that are separated by tabs: long name, short
    /// name, name of the value, how that is completed, how operands are completed, and the help. A dash stands for an
    /// absent field. The last line is about operands, with the exit statuses in place of the help.
    fn table(&self) -> String {
        let mut out = String::new();
        for option in self.shown() {
            let short = option.short.map_or("-".into(), |short| format!("-{short}"));
            let kind = if option.value.is_some() { option.completes.to_string() } else { "-".into() };
            let operands = option.operands.map_or("-".into(), |operands| operands.to_string());
            let value = option.value.unwrap_or("-");
            let _ = writeln!(out, "--{}\t{short}\t{value}\t{kind}\t{operands}\t{}", option.long, option.help);
        }
        let statuses: Vec<_> = self.statuses.iter().map(u8::to_string).collect();
        let _ = writeln!(out, "-\t-\t-\t-\t{}\t{}", self.operands, statuses.join(" "));
        out
    }
}

impl std::fmt::Display for Completes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Completes::Nothing => f.write_str("nothing"),
            Completes::File => f.write_str("file"),
            Completes::Directory => f.write_str("directory"),
            Completes::Container => f.write_str("container"),
            Completes::Image => f.write_str("image"),
            Completes::Words(words) => write!(f, "words {}", words.join(" ")),
            Completes::Listed(words) => write!(f, "words {}", words().join(" ")),
        }
    }
}

/// Appends words and line breaks to `out`, whose last line is `begin` wide; further lines are indented.
fn wrap(out: &mut String, text: &str, indent: usize, begin: usize) {
    let mut width = begin;
    for word in text.split_whitespace() {
        let needed = word.chars().count() + usize::from(width > indent);
        if width > indent && width + needed >= WIDTH {
            out.push('\n');
            width = 0;
        }
        if width < indent {
            let _ = write!(out, "{:1$}", "", indent - width);
            width = indent;
        }
        if width > indent {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.chars().count();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "frobnicate",
        synopsis: &["[OPTION...] THING", "--list"],
        about: "Frobnicates THING, which is something that can be frobnicated by a program such as this one, once.",
        options: &[
            Opt::flag("quiet", "do not tell").short('q'),
            Opt::valued("with", "HOW", "frobnicate like this")
                .completes(Completes::Words(&["a", "b"]))
                .short('w'),
            Opt::valued("a-long-option", "WITH-A-VALUE", "whatever"),
            Opt::flag("list", "list things").operands(Completes::Nothing),
            Opt::flag("own", "").hidden(),
        ],
        operands: Completes::File,
        statuses: &[0, 1, 2],
    };

    fn read(arguments: &[&str]) -> Result<Request, String> {
        PROGRAM.read(lexopt::Parser::from_args(arguments)).map_err(|e| e.to_string())
    }

    fn refused(arguments: &[&str]) -> String {
        read(arguments).err().unwrap_or_default()
    }

    fn printed(arguments: &[&str]) -> String {
        match read(arguments) {
            Ok(Request::Print(text)) => text,
            _ => String::new(),
        }
    }

    #[test]
    fn arguments_are_read_according_to_the_table() {
        let Ok(Request::Run(arguments)) = read(&["-qwx", "--with=y", "--own", "--", "--list"]) else {
            panic!("refused")
        };
        let with = |value: &str| Argument::Valued("with", value.into());
        let thing = Argument::Operand("--list".into());
        assert_eq!(arguments, [Argument::Flag("quiet"), with("x"), with("y"), Argument::Flag("own"), thing]);
        assert_eq!(refused(&["--quite"]), "invalid option '--quite'");
        assert_eq!(refused(&["-x"]), "invalid option '-x'");
        assert_eq!(refused(&["--with"]), "missing argument for option '--with'");
        assert_eq!(refused(&["--quiet=1"]), "unexpected argument for option '--quiet': \"1\"");
        assert_eq!(refused(&["--help=me"]), "unexpected argument for option '--help': \"me\"");
        assert_eq!(Argument::Flag("quiet").unexpected().to_string(), "unexpected option '--quiet'");
    }

    #[test]
    fn help_is_generated_from_the_table() {
        let usage = "\
Usage: frobnicate [OPTION...] THING
       frobnicate --list

Frobnicates THING, which is something that can be frobnicated by a program such as this
one, once. See frobnicate(8).

  -q, --quiet     do not tell
  -w, --with=HOW  frobnicate like this
  --a-long-option=WITH-A-VALUE
                  whatever
  --list          list things
  -h, --help      show this help
  --version       show the version
";
        assert_eq!(printed(&["x", "--help"]), usage);
        assert_eq!(printed(&["-qh"]), usage);
        assert_eq!(printed(&["--version"]), concat!("frobnicate ", env!("CARGO_PKG_VERSION"), "\n"));
        let table = "\
--quiet\t-q\t-\t-\t-\tdo not tell
--with\t-w\tHOW\twords a b\t-\tfrobnicate like this
--a-long-option\t-\tWITH-A-VALUE\tnothing\t-\twhatever
--list\t-\t-\t-\tnothing\tlist things
--help\t-h\t-\t-\t-\tshow this help
--version\t-\t-\t-\t-\tshow the version
-\t-\t-\t-\tfile\t0 1 2
";
        assert_eq!(printed(&["--help=table"]), table);
    }
}
