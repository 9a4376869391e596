//! Every single mutation of a bundle by the rule of specs/0002-proof-bundle.md §9, which the TypeScript tests repeat.

/// A bundle as a tree that keeps the order of fields and allows fields twice.
#[derive(Clone, PartialEq)]
enum Tree {
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// All mutants of a bundle's text, in the order of the rule, except that of the other network's key.
///
/// `foreign`: the texts of the other bundles, in file order.
pub(crate) fn mutants(text: &str, foreign: &[&str]) -> Mutants {
    let tree = read(text);
    let mut out = Vec::new();
    let mut places = Vec::new();
    visit(&tree, &mut Vec::new(), &mut places);
    leaves(&tree, &places, &mut out);
    arrays(&tree, &places, &mut out);
    objects(&tree, &places, &mut out);
    foreign_headers(&tree, foreign, &mut out);
    let truncated = vec![text[..text.len() - 1].to_owned(), text[1..].to_owned(), String::new()];
    Mutants { changed: out, truncated }
}

/// The mutants; between the two lists the rule puts the unchanged text under the other network's key.
pub(crate) struct Mutants {
    pub(crate) changed: Vec<String>,
    pub(crate) truncated: Vec<String>,
}

/// Position of a value: indices from the root.
type Place = Vec<usize>;

fn visit(tree: &Tree, at: &mut Place, places: &mut Vec<Place>) {
    places.push(at.clone());
    let children: Vec<&Tree> = match tree {
        Tree::Text(_) => Vec::new(),
        Tree::Array(items) => items.iter().collect(),
        Tree::Object(fields) => fields.iter().map(|(_, value)| value).collect(),
    };
    for (index, child) in children.into_iter().enumerate() {
        at.push(index);
        visit(child, at, places);
        at.pop();
    }
}

fn get<'a>(tree: &'a Tree, place: &[usize]) -> &'a Tree {
    place.iter().fold(tree, |tree, index| match tree {
        Tree::Array(items) => &items[*index],
        Tree::Object(fields) => &fields[*index].1,
        Tree::Text(_) => unreachable!("a string has no children"),
    })
}

/// The text of the tree with another value at `place`.
fn with(tree: &Tree, place: &[usize], value: Tree) -> String {
    let mut copy = tree.clone();
    let slot = place.iter().fold(&mut copy, |tree, index| match tree {
        Tree::Array(items) => &mut items[*index],
        Tree::Object(fields) => &mut fields[*index].1,
        Tree::Text(_) => unreachable!("a string has no children"),
    });
    *slot = value;
    let mut out = String::new();
    write(&copy, &mut out);
    out
}

fn leaves(tree: &Tree, places: &[Place], out: &mut Vec<String>) {
    for place in places {
        let Tree::Text(text) = get(tree, place) else { continue };
        let mut push = |text: String| out.push(with(tree, place, Tree::Text(text)));
        let digits = text
            .strip_prefix("0x")
            .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let characters = text.as_bytes();
        match digits {
            Some(digits) => {
                let stride = if digits.len().is_multiple_of(2) { 2 } else { 1 };
                for at in (1 + stride..text.len()).step_by(stride) {
                    let digit = char::from(characters[at]).to_digit(16).unwrap() ^ 1;
                    push(format!("{}{digit:x}{}", &text[..at], &text[at + 1..]));
                }
            }
            None => {
                for at in 0..text.len() {
                    push(format!("{}{}{}", &text[..at], char::from(characters[at] + 1), &text[at + 1..]));
                }
            }
        }
        if !text.is_empty() {
            push(text[..text.len() - 1].to_owned());
        }
        push(format!("{text}00"));
        push(String::new());
        if text.to_ascii_uppercase() != *text {
            push(text.to_ascii_uppercase());
        }
    }
}

fn arrays(tree: &Tree, places: &[Place], out: &mut Vec<String>) {
    for place in places {
        let Tree::Array(items) = get(tree, place) else { continue };
        let mut push = |value: Tree| out.push(with(tree, place, value));
        if let Some(last) = items.last() {
            push(Tree::Array(items[1..].to_vec()));
            push(Tree::Array(items[..items.len() - 1].to_vec()));
            push(Tree::Array(items.iter().chain([last]).cloned().collect()));
            let reversed: Vec<Tree> = items.iter().rev().cloned().collect();
            if reversed != *items {
                push(Tree::Array(reversed));
            }
        }
        push(Tree::Array(items.iter().cloned().chain([Tree::Text("0x80".to_owned())]).collect()));
        push(Tree::Text("0x".to_owned()));
    }
}

fn objects(tree: &Tree, places: &[Place], out: &mut Vec<String>) {
    for place in places {
        let Tree::Object(fields) = get(tree, place) else { continue };
        let mut push = |fields: Vec<(String, Tree)>| out.push(with(tree, place, Tree::Object(fields)));
        for at in 0..fields.len() {
            let mut copy = fields.clone();
            let field = copy.remove(at);
            push(copy.clone());
            copy.splice(at..at, [field.clone(), field.clone()]);
            push(copy);
            let mut copy = fields.clone();
            copy[at].1 = Tree::Array(Vec::new());
            push(copy);
        }
        push(fields.iter().cloned().chain([("x".to_owned(), Tree::Text("0x".to_owned()))]).collect());
    }
}

fn foreign_headers(tree: &Tree, foreign: &[&str], out: &mut Vec<String>) {
    let Tree::Object(fields) = tree else { return };
    let Some(at) = fields.iter().position(|(name, _)| name == "headers") else { return };
    let Tree::Array(headers) = &fields[at].1 else { return };
    for (index, own) in headers.iter().enumerate() {
        for other in foreign.iter().map(|text| read(text)) {
            let Tree::Object(fields) = &other else { continue };
            let Tree::Array(theirs) = &fields.iter().find(|(name, _)| name == "headers").unwrap().1 else { continue };
            if theirs[0] != *own {
                out.push(with(tree, &[at, index], theirs[0].clone()));
            }
        }
    }
}

/// Reads the written form of a bundle: no white space, no escapes.
fn read(text: &str) -> Tree {
    let mut rest = text;
    let tree = value(&mut rest);
    assert!(rest.is_empty(), "left over: {rest}");
    tree
}

fn value(rest: &mut &str) -> Tree {
    match rest.as_bytes()[0] {
        b'"' => Tree::Text(string(rest)),
        b'[' => Tree::Array(sequence(rest, ']', value)),
        _ => Tree::Object(sequence(rest, '}', |rest| {
            let name = string(rest);
            *rest = rest.strip_prefix(':').unwrap();
            (name, value(rest))
        })),
    }
}

fn string(rest: &mut &str) -> String {
    let (text, after) = rest[1..].split_once('"').unwrap();
    *rest = after;
    text.to_owned()
}

fn sequence<T>(rest: &mut &str, end: char, item: impl Fn(&mut &str) -> T) -> Vec<T> {
    let mut items = Vec::new();
    loop {
        *rest = &rest[1..];
        if items.is_empty() && rest.starts_with(end) {
            break;
        }
        items.push(item(rest));
        if rest.starts_with(end) {
            break;
        }
    }
    *rest = &rest[1..];
    items
}

fn write(tree: &Tree, out: &mut String) {
    match tree {
        Tree::Text(text) => {
            out.push('"');
            out.push_str(text);
            out.push('"');
        }
        Tree::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write(item, out);
            }
            out.push(']');
        }
        Tree::Object(fields) => {
            out.push('{');
            for (index, (name, value)) in fields.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                out.push('"');
                out.push_str(name);
                out.push_str("\":");
                write(value, out);
            }
            out.push('}');
        }
    }
}

#[test]
fn a_tree_reads_what_it_writes() {
    let text = r#"{"a":"b","c":[],"d":[["e"],"f"],"g":{}}"#;
    let mut out = String::new();
    write(&read(text), &mut out);
    assert_eq!(out, text);
}
