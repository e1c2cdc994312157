//! No file of a crate imports another that imports it, directly or by a detour.
//!
//! The files are parsed, and every path in them that begins with `crate`, `self`,
//! `super` or a child module is followed to the file that defines what it names,
//! through re-exports; in macro calls by its form. Tests within a file do not count, and neither does a parent
//! that names its children by `mod` and `pub use`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, ImplItemFn, Item, ItemFn, ItemMod, Macro, UseTree, Visibility, parse_file,
    visit::{self, Visit},
};

/// A module's path within its crate; empty for the root.
type Module = Vec<String>;

/// One module: a file, or one written inline.
#[derive(Default)]
struct Parsed {
    file: PathBuf,
    children: HashSet<String>,
    imports: Vec<Import>,
    /// Every other path that is written in it.
    paths: Vec<Vec<String>>,
    /// Names of its own items.
    items: HashSet<String>,
}

/// A name that `use` brings in.
struct Import {
    /// `*` for a glob.
    alias: String,
    target: Vec<String>,
    /// It is handed on to others.
    re_export: bool,
}

/// The modules of one crate.
#[derive(Default)]
struct Modules(BTreeMap<Module, Parsed>);

impl Modules {
    fn read(root: &Path) -> Modules {
        let mut modules = Modules::default();
        modules.read_file(root, &[], root.parent().expect("a folder"));
        modules
    }

    /// Reads a file that is a module, and the files of its children below `folder`.
    fn read_file(&mut self, file: &Path, module: &[String], folder: &Path) {
        let source = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let File { items, .. } = parse_file(&source).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.read_items(&items, file, module, folder);
    }

    fn read_items(&mut self, items: &[Item], file: &Path, module: &[String], folder: &Path) {
        let mut parsed = Parsed { file: file.to_owned(), ..Parsed::default() };
        for item in items {
            if let Some(name) = name_of(item) {
                parsed.items.insert(name);
            }
            match item {
                Item::Mod(child) if is_test(&child.attrs) => {}
                Item::Mod(ItemMod { ident, content, .. }) => {
                    let name = ident.to_string();
                    let below: Module = module.iter().cloned().chain([name.clone()]).collect();
                    parsed.children.insert(name.clone());
                    match content {
                        Some((_, items)) => self.read_items(items, file, &below, &folder.join(&name)),
                        None => {
                            let plain = folder.join(format!("{name}.rs"));
                            let file = if plain.exists() { plain } else { folder.join(&name).join("mod.rs") };
                            self.read_file(&file, &below, &folder.join(&name));
                        }
                    }
                }
                Item::Use(item) if is_test(&item.attrs) => {}
                Item::Use(item) => {
                    let mut found = Vec::new();
                    flatten(&item.tree, &mut Vec::new(), &mut found);
                    let re_export = !matches!(item.vis, Visibility::Inherited);
                    parsed.imports.extend(found.into_iter().map(|(alias, target)| Import { alias, target, re_export }));
                }
                _ => Paths(&mut parsed.paths).visit_item(item),
            }
        }
        self.0.insert(module.to_vec(), parsed);
    }

    /// The module that defines what `path` names, seen from `from`; none if it is
    /// another crate's.
    fn resolve(&self, from: &Module, path: &[String], seen: &mut HashSet<(Module, String)>) -> Option<Module> {
        let (mut at, rest) = match path.first()?.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => {
                let above = path.iter().take_while(|part| *part == "super").count();
                (from[..from.len().checked_sub(above)?].to_vec(), &path[above..])
            }
            _ => (from.clone(), path),
        };
        for (index, name) in rest.iter().enumerate() {
            let parsed = self.0.get(&at)?;
            if parsed.children.contains(name) {
                at.push(name.clone());
                continue;
            }
            if parsed.items.contains(name) {
                return Some(at);
            }
            if !seen.insert((at.clone(), name.clone())) {
                return None;
            }
            for Import { alias, target, .. } in
                parsed.imports.iter().filter(|import| import.alias == *name || import.alias == "*")
            {
                let rest = &rest[index + usize::from(alias != "*")..];
                let whole: Vec<String> = target.iter().chain(rest).cloned().collect();
                if let Some(found) = self.resolve_use(&at, &whole, seen) {
                    return Some(found);
                }
            }
            return None;
        }
        Some(at)
    }

    /// The same for a `use`, which may begin with another crate's name.
    fn resolve_use(&self, from: &Module, path: &[String], seen: &mut HashSet<(Module, String)>) -> Option<Module> {
        let first = path.first()?.as_str();
        let here = self.0.get(from)?;
        let ours = matches!(first, "crate" | "self" | "super") || here.children.contains(first) || here.items.contains(first);
        if ours { self.resolve(from, path, seen) } else { None }
    }

    /// Which file takes what from which other.
    fn edges(&self) -> BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>> {
        let mut edges: BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>> = BTreeMap::new();
        for (module, parsed) in &self.0 {
            let used = |alias: &str| parsed.paths.iter().any(|path| path[0] == alias);
            // What is only handed on makes no edge: whoever takes it has one to its own file.
            let imports = parsed.imports.iter().filter(|import| !import.re_export || used(&import.alias));
            let by_use = imports.map(|import| (self.resolve_use(module, &import.target, &mut HashSet::new()), &import.target));
            // One name alone may be a variable that is called like a module.
            let named = parsed.paths.iter().filter(|path| path.len() > 1 || !parsed.children.contains(&path[0]));
            let by_path = named.map(|path| (self.resolve(module, path, &mut HashSet::new()), path));
            for (found, path) in by_use.chain(by_path) {
                let Some(found) = found.and_then(|found| self.0.get(&found)) else { continue };
                if found.file != parsed.file {
                    let names = edges.entry(parsed.file.clone()).or_default().entry(found.file.clone()).or_default();
                    names.extend(path.last().cloned());
                }
            }
        }
        edges
    }

    /// Each circle, described by the edges that close it.
    fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let reach = |from: &Path| {
            let mut seen: HashSet<&Path> = HashSet::new();
            let mut next: Vec<&Path> = edges.get(from).into_iter().flat_map(BTreeMap::keys).map(PathBuf::as_path).collect();
            while let Some(file) = next.pop() {
                if seen.insert(file) {
                    next.extend(edges.get(file).into_iter().flat_map(BTreeMap::keys).map(PathBuf::as_path));
                }
            }
            seen
        };
        let reached: HashMap<&Path, HashSet<&Path>> = edges.keys().map(|file| (file.as_path(), reach(file))).collect();
        let mut lines = Vec::new();
        for (from, targets) in &edges {
            for (to, names) in targets {
                if reached.get(to.as_path()).is_some_and(|back| back.contains(from.as_path())) {
                    lines.push(format!(
                        "{} -> {}: {}",
                        from.display(),
                        to.display(),
                        names.iter().cloned().collect::<Vec<_>>().join(", ")
                    ));
                }
            }
        }
        lines
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg = attribute.path().is_ident("cfg");
        let of_tests =
            |list: &syn::MetaList| list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test");
        attribute.path().is_ident("test") || cfg && attribute.meta.require_list().is_ok_and(of_tests)
    })
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, into: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, into);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => into.push((prefix.last().cloned().unwrap_or_default(), prefix.clone())),
        UseTree::Name(name) => into.push((name.ident.to_string(), with(prefix, name.ident.to_string()))),
        UseTree::Rename(rename) => into.push((rename.rename.to_string(), with(prefix, rename.ident.to_string()))),
        UseTree::Glob(_) => into.push(("*".to_owned(), prefix.clone())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, into)),
    }
}

fn with(prefix: &[String], name: String) -> Vec<String> {
    prefix.iter().cloned().chain([name]).collect()
}

/// Collects paths, tests left out.
struct Paths<'a>(&'a mut Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    // What is in a macro call is no syntax tree.
    fn visit_macro(&mut self, call: &'ast Macro) {
        let text = call.tokens.to_string().replace(" ::", "::").replace(":: ", "::");
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let paths = words.map(|word| word.split("::").map(str::to_owned).collect::<Vec<_>>());
        self.0.extend(paths.filter(|path| path.len() > 1));
        visit::visit_macro(self, call);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    // `pub(crate)` is no use of the crate's root.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn roots() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
    let crates = ["crates", "apps"].iter().flat_map(|folder| fs::read_dir(top.join(folder)).expect("a folder"));
    let mut roots: Vec<PathBuf> = crates
        .map(|entry| entry.expect("an entry").path().join("src"))
        .map(|source| [source.join("lib.rs"), source.join("main.rs")].into_iter().find(|root| root.exists()).expect("a root"))
        .collect();
    roots.sort();
    roots
}

#[test]
fn no_file_imports_another_that_imports_it() {
    let roots = roots();
    assert!(roots.len() >= 11, "{roots:?}");
    let circles: Vec<String> = roots.iter().flat_map(|root| Modules::read(root).circles()).collect();
    assert!(circles.is_empty(), "files that import each other in a circle:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_through_a_re_export_an_inline_path_and_a_macro() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, source: &str| fs::write(folder.path().join(name), source).expect("written");
    fs::create_dir(folder.path().join("deep")).expect("a folder");
    write("lib.rs", "mod a;\nmod deep;\nmod free;\npub use deep::Thing;\n");
    write("a.rs", "pub fn of(_: crate::Thing) {}\n");
    write("deep/mod.rs", "mod thing;\npub use thing::Thing;\n");
    write("deep/thing.rs", "pub struct Thing;\nfn back() { dbg!(crate::a::of(Thing)) }\n");
    write("free.rs", "use crate::a::of;\n#[cfg(test)]\nmod tests { use crate::deep; }\n");
    let circles = Modules::read(&folder.path().join("lib.rs")).circles().join("\n");
    assert!(circles.contains("a.rs -> ") && circles.contains("thing.rs: Thing"), "{circles}");
    assert!(circles.contains("thing.rs -> ") && circles.contains("a.rs: of"), "{circles}");
    assert!(!circles.contains("free.rs"), "{circles}");
}
