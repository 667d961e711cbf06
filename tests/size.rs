//! How long functions and files may be, and how code outside tests may give up.
//!
//! Counted over the crates' own code: not tests, benches or the harness. A function's lines run from `fn` to its closing
//! brace; a file's lines leave out what stands under `#[cfg(test)]`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines that half of all functions have at most.
const FUNCTION_MEDIAN: usize = 8;
/// Lines that 95 of 100 functions have at most.
const FUNCTION_95TH: usize = 40;
/// Lines that no function has more of, but for those named below.
const FUNCTION_MAX: usize = 80;
/// Lines that no file has more of, but for those named below.
const FILE_AIM: usize = 500;
/// Lines that no file has more of.
const FILE_MAX: usize = 800;
/// Words that an `expect` needs at least to state an invariant.
const INVARIANT_WORDS: usize = 3;

/// Longer than [`FUNCTION_MAX`], and why: (file, function, reason).
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];
/// Longer than [`FILE_AIM`], and why: (file, reason).
const LONG_FILES: &[(&str, &str)] = &[];

/// Where the crates' own code is.
const SOURCES: &[&str] =
    &["src", "config/src", "proxy/core/src", "proxy/server/src", "control/core/src", "control/server/src"];

#[test]
fn functions_are_short() {
    let functions: Vec<Function> = measured().into_iter().flat_map(|file| file.functions).collect();
    assert!(functions.len() > 100, "only {} functions were found", functions.len());
    let mut lines: Vec<usize> = functions.iter().map(|function| function.lines).collect();
    lines.sort_unstable();
    let (median, high) = (percentile(&lines, 50), percentile(&lines, 95));
    println!("{} functions, median {median}, 95th percentile {high}, longest {}", lines.len(), lines[lines.len() - 1]);
    assert!(median <= FUNCTION_MEDIAN, "median {median} lines, at most {FUNCTION_MEDIAN}");
    assert!(high <= FUNCTION_95TH, "95th percentile {high} lines, at most {FUNCTION_95TH}{}", longest(&functions));
    let over: BTreeSet<String> = functions.iter().filter(|one| one.lines > FUNCTION_MAX).map(Function::key).collect();
    let named = LONG_FUNCTIONS.iter().map(|(file, name, _)| format!("{file} {name}")).collect();
    assert_eq!(over, named, "functions over {FUNCTION_MAX} lines, beside those that are named with a reason");
}

#[test]
fn files_are_short() {
    let files = measured();
    let over: BTreeSet<String> =
        files.iter().filter(|file| file.lines > FILE_AIM).map(|file| file.path.clone()).collect();
    let named = LONG_FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(
        over, named,
        "files over {FILE_AIM} lines without their tests, beside those that are named with a reason"
    );
    let giants: Vec<_> =
        files.iter().filter(|file| file.lines > FILE_MAX).map(|file| (&file.path, file.lines)).collect();
    assert!(giants.is_empty(), "over {FILE_MAX} lines: {giants:?}");
}

#[test]
fn nothing_gives_up_outside_tests() {
    let panics: Vec<String> = measured().into_iter().flat_map(|file| file.panics).collect();
    assert!(panics.is_empty(), "{}", panics.join("\n"));
}

#[test]
fn the_measure_sees_a_sample() {
    let file = measure("sample.rs", SAMPLE);
    let lengths: Vec<(&str, usize)> = file.functions.iter().map(|one| (one.name.as_str(), one.lines)).collect();
    assert_eq!(lengths, [("one", 1), ("three", 3), ("method", 5), ("nested", 1), ("default", 1)]);
    assert_eq!(file.lines, SAMPLE.lines().count() - 6, "the tests' lines and their attribute are not counted");
    assert_eq!(file.test_modules, ["elsewhere"]);
}

#[test]
fn each_way_to_give_up_is_seen_once_in_a_sample() {
    let found = measure("sample.rs", GIVING_UP).panics;
    let lines: Vec<&str> = found.iter().filter_map(|text| text.split(": ").next()).collect();
    let marked = GIVING_UP
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("// bad"))
        .map(|(i, _)| format!("sample.rs:{}", i + 1));
    assert_eq!(lines, marked.collect::<Vec<_>>(), "{found:?}");
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    assert_eq!(percentile(&[1, 2, 3, 4], 50), 2);
    assert_eq!(percentile(&(1..=100).collect::<Vec<_>>(), 95), 95);
}

const SAMPLE: &str = "
fn one() {}
fn three() {
    one();
}
impl X {
    fn method() {
        fn nested() {}
        nested();
        one();
    }
}
trait T {
    fn none();
    fn default() {}
}
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod tests {
    fn not_counted() { None.unwrap() }
}
";

const GIVING_UP: &str = r#"
fn f() {
    x.unwrap(); // bad
    log!("{}", x.unwrap()); // bad
    x.unwrap_err(); // bad
    x.expect("short"); // bad
    x.expect(text); // bad
    x.expect("the list was checked above");
    x.unwrap_or(1);
    panic!("no"); // bad
    todo!(); // bad
    unimplemented!(); // bad
    unreachable!(); // bad
    unreachable!("the match above covers it");
    std::panic!("no"); // bad
    select! { x = y.expect("short") => {} } // bad
}
#[test]
fn t() { x.unwrap() }
"#;

/// What was found in one file.
#[derive(Debug, Default)]
struct Measured {
    path: String,
    /// Without those under `#[cfg(test)]`.
    lines: usize,
    functions: Vec<Function>,
    /// Each told with its place.
    panics: Vec<String>,
    /// Modules in files of their own that are compiled for tests only.
    test_modules: Vec<String>,
}

#[derive(Debug)]
struct Function {
    file: String,
    name: String,
    lines: usize,
}

impl Function {
    fn key(&self) -> String {
        format!("{} {}", self.file, self.name)
    }
}

fn longest(functions: &[Function]) -> String {
    let mut sorted: Vec<&Function> = functions.iter().collect();
    sorted.sort_unstable_by_key(|function| std::cmp::Reverse(function.lines));
    sorted.iter().take(20).fold(String::new(), |mut text, one| {
        write!(text, "\n{:4} {}", one.lines, one.key()).expect("writing to a string cannot fail");
        text
    })
}

/// Of a sorted list, by nearest rank.
fn percentile(sorted: &[usize], percent: usize) -> usize {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// Every file of the crates' own code.
fn measured() -> Vec<Measured> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    SOURCES.iter().for_each(|folder| rust_files(&root.join(folder), &mut paths));
    assert!(paths.len() >= SOURCES.len(), "a crate has no source: {paths:?}");
    let name = |path: &Path| path.strip_prefix(root).expect("the walk began at the root").display().to_string();
    let text = |path: &Path| fs::read_to_string(path).expect("the walk has just found this file");
    let measured: Vec<Measured> = paths.iter().map(|path| measure(&name(path), &text(path))).collect();
    let tests: BTreeSet<PathBuf> = measured.iter().flat_map(test_files).collect();
    let is_test = |file: &Measured| {
        tests
            .iter()
            .any(|test| Path::new(&file.path).starts_with(test.with_extension("")) || Path::new(&file.path) == test)
    };
    measured.into_iter().filter(|file| !is_test(file)).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a folder that was opened can be read").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Where the file's test modules are: `a/tests.rs` for a `mod tests;` in `a.rs` or in `a/mod.rs`.
fn test_files(file: &Measured) -> Vec<PathBuf> {
    let path = Path::new(&file.path);
    let owns_folder = matches!(path.file_stem().and_then(|stem| stem.to_str()), Some("lib" | "main" | "mod"));
    let folder = if owns_folder { path.parent().unwrap_or(path).to_owned() } else { path.with_extension("") };
    file.test_modules.iter().map(|module| folder.join(module).with_extension("rs")).collect()
}

fn measure(path: &str, text: &str) -> Measured {
    let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = Measured { path: path.to_owned(), lines: text.lines().count(), ..Measured::default() };
    let mut reader = Reader { file };
    reader.visit_file(&syntax);
    reader.file
}

struct Reader {
    file: Measured,
}

impl Reader {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.brace_token.span.close().end().line + 1 - signature.fn_token.span.start().line;
        self.file.functions.push(Function { file: self.file.path.clone(), name: signature.ident.to_string(), lines });
    }

    fn give_up(&mut self, span: proc_macro2::Span, how: &str) {
        self.file.panics.push(format!("{}:{}: {how}", self.file.path, span.start().line));
    }

    fn call(&mut self, name: &proc_macro2::Ident, arguments: &TokenStream) {
        match name.to_string().as_str() {
            "unwrap" | "unwrap_err" if arguments.is_empty() => self.give_up(name.span(), "an error is dropped"),
            "expect" | "expect_err" if !states_invariant(arguments) => {
                self.give_up(name.span(), "`expect` must state its invariant")
            }
            _ => {}
        }
    }

    fn macro_call(&mut self, name: &proc_macro2::Ident, arguments: &TokenStream) {
        match name.to_string().as_str() {
            "panic" | "todo" | "unimplemented" => self.give_up(name.span(), "a panic"),
            "unreachable" if arguments.is_empty() => {
                self.give_up(name.span(), "`unreachable` must state its invariant")
            }
            _ => {}
        }
    }

    /// The inside of a macro call is only tokens to the parser.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for window in tokens.windows(3) {
            match window {
                [TokenTree::Punct(dot), TokenTree::Ident(name), TokenTree::Group(inner)] if dot.as_char() == '.' => {
                    self.call(name, &inner.stream())
                }
                [TokenTree::Ident(name), TokenTree::Punct(bang), TokenTree::Group(inner)] if bang.as_char() == '!' => {
                    self.macro_call(name, &inner.stream());
                }
                _ => {}
            }
        }
        for token in tokens {
            if let TokenTree::Group(group) = token {
                self.tokens(group.stream());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).is_some_and(for_tests) {
            return visit::visit_item(self, item);
        }
        self.file.lines -= item.span().end().line + 1 - item.span().start().line;
        if let syn::Item::Mod(module) = item
            && module.content.is_none()
        {
            self.file.test_modules.push(module.ident.to_string());
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if for_tests(&item.attrs) {
            return;
        }
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let arguments = call.args.iter().map(quote::ToTokens::to_token_stream).collect();
        self.call(&call.method, &arguments);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(last) = call.path.segments.last() {
            self.macro_call(&last.ident, &call.tokens);
        }
        self.tokens(call.tokens.clone());
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser may learn new items, and the rest cannot hold code")]
fn attributes(item: &syn::Item) -> Option<&[syn::Attribute]> {
    match item {
        syn::Item::Const(item) => Some(&item.attrs),
        syn::Item::Enum(item) => Some(&item.attrs),
        syn::Item::Fn(item) => Some(&item.attrs),
        syn::Item::Impl(item) => Some(&item.attrs),
        syn::Item::Macro(item) => Some(&item.attrs),
        syn::Item::Mod(item) => Some(&item.attrs),
        syn::Item::Static(item) => Some(&item.attrs),
        syn::Item::Struct(item) => Some(&item.attrs),
        syn::Item::Trait(item) => Some(&item.attrs),
        syn::Item::Type(item) => Some(&item.attrs),
        syn::Item::Use(item) => Some(&item.attrs),
        _ => None,
    }
}

/// `#[cfg(test)]`, `#[test]` and their like.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let test_function = attribute.path().segments.last().is_some_and(|last| last.ident == "test");
        let test_build =
            attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test");
        test_function || test_build
    })
}

/// Whether the argument is a text of a few words.
fn states_invariant(arguments: &TokenStream) -> bool {
    syn::parse2::<syn::LitStr>(arguments.clone())
        .is_ok_and(|text| text.value().split_whitespace().count() >= INVARIANT_WORDS)
}
