//! [`Inspector`]: one verdict about the content of one whole message. It has no clock and asks nothing of the world;
//! it never changes what passes, but for what it masks.

use super::clean::{self, Clean};
use super::detect::normal::Octets;
use super::detect::{self, Budget, Engine, Scope, Set, Spent};
use super::json::{self, Fault, JsonLimits, Leaf, Path, Place, Sink};
use super::layers;
use super::leak::{self, Leak, Leaks};
use super::rules::{BadRules, Mode, RuleName, Rules, STRUCTURE, place};
#[cfg(feature = "schema")]
use super::schema::Schemas;
use super::{nosql_operator, prototype_member};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use tidegate_proto::CloseCode;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// From the client to the server: attacks are looked for.
    ToServer,
    /// From the server to the client: what should not leave is looked for.
    ToClient,
}

/// A message's opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UTF-8, as the protocol has it.
    Text,
    /// Any octets. They are judged like a text's, so that no one evades by the opcode.
    Binary,
}

/// What is to be done with a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It passes.
    Pass,
    /// It passes, and this is worth an audit event.
    Monitor(Vec<Finding>),
    /// These octets pass in its place: what was found is masked. Text stays text, JSON stays JSON.
    Replace(Vec<u8>, Vec<Finding>),
    /// It does not pass.
    Block(Finding),
}

/// What a rule found. It says where and why, and never what stood there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// `sqli-union`; [`rules::names`](super::rules::names) has them all.
    pub rule: &'static str,
    /// `sqli`.
    pub family: &'static str,
    /// RFC 6901: where in the message. Empty when it is the message as a whole, or when that is not JSON. Where a string
    /// is JSON itself, the place inside of it follows after `»`. Keys are cut at 64 bytes.
    pub pointer: String,
    /// Whether it is the member's name at that place and not its value.
    pub in_key: bool,
    /// What the rule is about, and of a schema what it wants.
    pub why: Cow<'static, str>,
    /// Encodings that had to be taken off to see it.
    pub layers: usize,
    /// What the rule's mode is.
    pub mode: Mode,
    /// Which code to close with when the message does not pass and the policy says nothing else.
    pub close: CloseCode,
}

/// Judges messages by [`Rules`]. A clone shares what is compiled, and has its own memory to work in: one for each
/// worker.
pub struct Inspector {
    shared: Arc<Shared>,
    walk: json::Scratch,
    work: Work,
}

/// What is made once of the rules.
struct Shared {
    rules: Rules,
    engine: &'static Engine,
    leaks: &'static Leaks,
    /// Detectors' rules that are asked.
    enabled: Set,
    detector_modes: Vec<Mode>,
    structure_modes: Vec<Mode>,
    leak_modes: Vec<Mode>,
    /// Leaks that are asked, as bits.
    leaks_enabled: u32,
    /// Whether anything at all is looked for on the way to the server.
    any: bool,
    #[cfg(feature = "schema")]
    schemas: Schemas,
}

impl Clone for Inspector {
    fn clone(&self) -> Inspector {
        Inspector::sharing(Arc::clone(&self.shared))
    }
}

impl Inspector {
    /// Makes an inspection of rules. The first one in a process compiles the detectors, which takes some 50
    /// milliseconds and about 7 MiB.
    ///
    /// # Errors
    /// What is wrong with the rules.
    pub fn new(rules: &Rules) -> Result<Inspector, BadRules> {
        rules.check()?;
        let engine = Engine::get();
        let detectors = engine.rules().iter().map(|(family, rule)| RuleName {
            id: rule.id,
            family: family.name(),
            why: rule.why,
            close: CloseCode::POLICY,
            only_by_name: false,
        });
        let detector_modes: Vec<Mode> = detectors.map(|name| rules.mode_of(&name)).collect();
        let structure = STRUCTURE.iter().map(|name| rules.mode_of(name));
        let structure_modes: Vec<Mode> = structure.collect();
        let leaks = Leak::ALL.iter().map(|leak| rules.mode_of(&leak.name()));
        let leak_modes: Vec<Mode> = leaks.collect();
        let mut enabled = Set::default();
        let asked = |modes: &[Mode]| -> Vec<usize> {
            let each = modes.iter().enumerate();
            each.filter(|(_, mode)| **mode != Mode::Off)
                .map(|(place, _)| place)
                .collect()
        };
        let asked_detectors = asked(&detector_modes);
        asked_detectors
            .iter()
            .for_each(|rule| enabled.insert(*rule));
        let leaks_enabled = asked(&leak_modes)
            .iter()
            .fold(0, |bits, leak| bits | 1 << leak);
        let any = !asked_detectors.is_empty() || !asked(&structure_modes).is_empty();
        Ok(Inspector::sharing(Arc::new(Shared {
            rules: rules.clone(),
            engine,
            leaks: Leaks::get(),
            enabled,
            detector_modes,
            structure_modes,
            leak_modes,
            leaks_enabled,
            any,
            #[cfg(feature = "schema")]
            schemas: Schemas::default(),
        })))
    }

    /// The same with schemas that messages must keep to.
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn with_schemas(self, schemas: Schemas) -> Inspector {
        let shared = Arc::try_unwrap(self.shared).unwrap_or_else(|shared| Shared {
            rules: shared.rules.clone(),
            engine: shared.engine,
            leaks: shared.leaks,
            enabled: shared.enabled,
            detector_modes: shared.detector_modes.clone(),
            structure_modes: shared.structure_modes.clone(),
            leak_modes: shared.leak_modes.clone(),
            leaks_enabled: shared.leaks_enabled,
            any: shared.any,
            schemas: Schemas::default(),
        });
        Inspector::sharing(Arc::new(Shared { schemas, ..shared }))
    }

    fn sharing(shared: Arc<Shared>) -> Inspector {
        Inspector {
            shared,
            walk: json::Scratch::default(),
            work: Work::default(),
        }
    }

    /// Judges one message: whole, canonical, inflated. The time is linear in its length and bounded by
    /// [`Rules::budget`]; the memory that it takes is at most about five times the message's length and is kept for the
    /// next one.
    pub fn inspect(&mut self, direction: Direction, kind: Kind, message: &[u8]) -> Verdict {
        let Inspector { shared, walk, work } = self;
        let mut look = Look::new(shared, work);
        match direction {
            Direction::ToServer if shared.any => look.arriving(kind, message, walk),
            Direction::ToServer => {}
            Direction::ToClient => look.departing(message, walk),
        }
        #[cfg(feature = "schema")]
        look.schema(direction, message);
        look.verdict(message)
    }
}

/// Memory that one message needs and the next one can use again.
#[derive(Default)]
struct Work {
    detect: detect::Scratch,
    clean: Clean,
    /// One for each layer.
    texts: Vec<Vec<u8>>,
    walks: Vec<json::Scratch>,
}

/// A text of the message, or what a layer of it says.
#[derive(Clone, Copy)]
struct Text<'a> {
    text: &'a [u8],
    /// Those of the text.
    octets: Octets,
    path: Path<'a>,
    in_key: bool,
    scope: Scope,
}

/// One message under inspection.
struct Look<'a> {
    shared: &'a Shared,
    work: &'a mut Work,
    budget: Budget,
    findings: Vec<Finding>,
    /// The first finding that blocks; nothing is looked for after it.
    blocked: bool,
    /// What stands in for which octets.
    masks: Vec<(Range<usize>, Vec<u8>)>,
    /// Layers taken off at this moment.
    layer: usize,
    /// Where the text that is being walked stands, when that is a member's string.
    outer: Option<(String, bool)>,
    /// What is walked is on its way to a client.
    leaving: bool,
}

impl<'a> Look<'a> {
    fn new(shared: &'a Shared, work: &'a mut Work) -> Look<'a> {
        Look {
            shared,
            work,
            budget: Budget(shared.rules.budget),
            findings: Vec::new(),
            blocked: false,
            masks: Vec::new(),
            layer: 0,
            outer: None,
            leaving: false,
        }
    }

    fn arriving(&mut self, kind: Kind, message: &[u8], walk: &mut json::Scratch) {
        if kind == Kind::Binary && !self.structural(place::BINARY, Path::ROOT) {
            return;
        }
        if !json::looks_like_json(message) {
            if self.structural(place::JSON_REQUIRED, Path::ROOT) {
                self.opaque(message);
            }
            return;
        }
        let whole = json::walk(message, &self.shared.rules.json, walk, self);
        if !whole && !self.blocked {
            self.opaque(message);
        }
    }

    /// A message that is no JSON, or that could not be read to its end.
    fn opaque(&mut self, message: &[u8]) {
        self.text(message, Path::ROOT, false, self.shared.rules.plain_text);
    }

    /// Looks at a text and at what its layers say; false when nothing more is to be looked at.
    fn text(&mut self, text: &[u8], path: Path<'_>, in_key: bool, scope: Scope) -> bool {
        if text.len() < SHORTEST {
            return true;
        }
        let key = clean::Key::of(text, scope);
        if let Some(cost) = key.and_then(|key| self.work.clean.cost(key)) {
            return self.budget.take(cost).is_ok() || self.overlimit(path);
        }
        let text = Text {
            text,
            octets: Octets::of(text),
            path,
            in_key,
            scope,
        };
        let left = self.budget;
        let Ok(found) = self.detect(text) else {
            return self.overlimit(path);
        };
        if found.is_empty() && !layers::may_be(text.text, text.octets) {
            if let Some(key) = key {
                self.work.clean.remember(key, left.without(self.budget));
            }
            return true;
        }
        self.tell_all(found, path, in_key) && self.inner(text)
    }

    fn detect(&mut self, text: Text<'_>) -> Result<Set, Spent> {
        let shared = self.shared;
        let (budget, scratch) = (&mut self.budget, &mut self.work.detect);
        let (engine, enabled) = (shared.engine, shared.enabled);
        engine.detect(text.text, text.octets, enabled, text.scope, budget, scratch)
    }

    /// There is nothing left to inspect with.
    fn overlimit(&mut self, path: Path<'_>) -> bool {
        self.structural(place::OVERLIMIT, path);
        false
    }

    fn tell_all(&mut self, found: Set, path: Path<'_>, in_key: bool) -> bool {
        let shared = self.shared;
        for rule in found.each() {
            let (family, detector) = shared.engine.rules()[rule];
            let name = RuleName {
                id: detector.id,
                family: family.name(),
                why: detector.why,
                close: CloseCode::POLICY,
                only_by_name: false,
            };
            if !self.tell(&name, shared.detector_modes[rule], path, in_key) {
                return false;
            }
        }
        true
    }

    /// What a text says when it is read once more.
    fn inner(&mut self, text: Text<'_>) -> bool {
        let Text {
            text,
            octets,
            path,
            in_key,
            scope,
        } = text;
        if self.layer >= self.shared.rules.max_layers || !layers::may_be(text, octets) {
            return true;
        }
        if self.layer > 0 || !path.is_root() || in_key {
            let whole = text.trim_ascii();
            let ends = matches!((whole.first(), whole.last()), (Some(b'{'), Some(b'}')));
            if (ends || whole.first() != Some(&b'{')) && json::looks_like_json(text) {
                return self.nested(text, path, in_key) && self.escapes(text, path, in_key, scope);
            }
        }
        self.escapes(text, path, in_key, scope)
    }

    fn escapes(&mut self, text: &[u8], path: Path<'_>, in_key: bool, scope: Scope) -> bool {
        let mut decoded = self.work.texts.pop().unwrap_or_default();
        let more = layers::decode(text, &mut decoded);
        self.layer += 1;
        let goes_on = !more || decoded == text || self.text(&decoded, path, in_key, scope);
        self.layer -= 1;
        self.work.texts.push(decoded);
        goes_on
    }

    /// A string that is JSON itself.
    fn nested(&mut self, text: &[u8], path: Path<'_>, in_key: bool) -> bool {
        let mut walk = self.work.walks.pop().unwrap_or_default();
        let here = self.place(path, in_key);
        let outer = self.outer.replace(here);
        self.layer += 1;
        json::walk(text, &self.shared.rules.json, &mut walk, self);
        self.layer -= 1;
        self.outer = outer;
        self.work.walks.push(walk);
        !self.blocked
    }

    /// Member names that are an attack by themselves.
    fn key(&mut self, leaf: &Leaf<'_>) -> bool {
        if nosql_operator(leaf.text) && !self.structural_key(place::NOSQL_KEY, leaf.path) {
            return false;
        }
        let mut above = leaf.path.names();
        _ = above.next();
        if prototype_member(leaf.text, above.next()) {
            return self.structural_key(place::PROTOTYPE_KEY, leaf.path);
        }
        true
    }

    fn scope(&self, path: Path<'_>) -> Scope {
        let is_free = |name: &[u8]| {
            let mut free = self.shared.rules.free_text.iter();
            free.any(|free| free.as_bytes().eq_ignore_ascii_case(name))
        };
        match path.name() {
            Some(name) if is_free(name) => Scope::Free,
            Some(_) => Scope::Strict,
            None => self.shared.rules.plain_text,
        }
    }

    fn place(&self, path: Path<'_>, in_key: bool) -> (String, bool) {
        let pointer = path.pointer();
        match &self.outer {
            Some((outer, _)) => (format!("{outer}»{pointer}"), in_key),
            None => (pointer, in_key),
        }
    }

    fn structural(&mut self, rule: usize, path: Path<'_>) -> bool {
        let mode = self.shared.structure_modes[rule];
        self.tell(&STRUCTURE[rule], mode, path, false)
    }

    fn structural_key(&mut self, rule: usize, path: Path<'_>) -> bool {
        let mode = self.shared.structure_modes[rule];
        self.tell(&STRUCTURE[rule], mode, path, true)
    }

    /// Keeps a finding; false when it blocks.
    fn tell(&mut self, rule: &RuleName, mode: Mode, path: Path<'_>, in_key: bool) -> bool {
        if mode == Mode::Off {
            return true;
        }
        let (pointer, in_key) = self.place(path, in_key);
        self.push(Finding {
            rule: rule.id,
            family: rule.family,
            pointer,
            in_key,
            why: Cow::Borrowed(rule.why),
            layers: self.layer,
            mode,
            close: rule.close,
        })
    }

    fn push(&mut self, finding: Finding) -> bool {
        let known = |other: &Finding| {
            other.rule == finding.rule
                && other.pointer == finding.pointer
                && other.in_key == finding.in_key
        };
        if finding.mode == Mode::Block {
            self.blocked = true;
            self.findings.clear();
            self.findings.push(finding);
            return false;
        }
        if self.findings.len() < MOST_FINDINGS && !self.findings.iter().any(known) {
            self.findings.push(finding);
        }
        true
    }

    fn departing(&mut self, message: &[u8], walk: &mut json::Scratch) {
        let shared = self.shared;
        let escaped = memchr::memchr(b'\\', message)
            .is_some_and(|at| memchr::memmem::find(&message[at..], b"\\u").is_some());
        let candidates = shared.leaks.candidates(message) & shared.leaks_enabled;
        if shared.leaks_enabled == 0 || (candidates == 0 && !escaped) {
            return;
        }
        self.leaving = true;
        let whole = json::walk(message, &UNLIMITED, walk, self);
        if !whole && !self.blocked {
            self.findings.clear();
            self.masks.clear();
            if let Some(masked) = self.leaks(message, Path::ROOT, false) {
                self.masks.push((0..message.len(), masked));
            }
        }
    }

    /// Tells of leaks in a text; the masked text when some are to be masked.
    fn leaks(&mut self, text: &[u8], path: Path<'_>, in_key: bool) -> Option<Vec<u8>> {
        let shared = self.shared;
        let candidates = shared.leaks.candidates(text) & shared.leaks_enabled;
        if candidates == 0 {
            return None;
        }
        let mut found = Vec::new();
        let add = |leak, at| found.push((leak, at));
        shared.leaks.find(text, candidates, add);
        for (leak, _) in &found {
            let mode = shared.leak_modes[*leak];
            if !self.tell(&Leak::ALL[*leak].name(), mode, path, in_key) {
                return None;
            }
        }
        found.retain(|(leak, _)| shared.leak_modes[*leak] == Mode::Mask);
        (!found.is_empty()).then(|| leak::mask(text, &found))
    }

    fn leaving(&mut self, leaf: &Leaf<'_>) -> bool {
        if let Some(masked) = self.leaks(leaf.text, leaf.path, leaf.place == Place::Key) {
            let mut spelt = Vec::with_capacity(masked.len() + 2);
            leak::push_string(&masked, &mut spelt);
            self.masks.push((leaf.span.clone(), spelt));
        }
        !self.blocked
    }

    #[cfg(feature = "schema")]
    fn schema(&mut self, direction: Direction, message: &[u8]) {
        let mode = self.shared.structure_modes[place::SCHEMA];
        if self.blocked || mode == Mode::Off {
            return;
        }
        if let Err((pointer, why)) = self.shared.schemas.check(direction, message) {
            let rule = &STRUCTURE[place::SCHEMA];
            self.push(Finding {
                rule: rule.id,
                family: rule.family,
                pointer,
                in_key: false,
                why: Cow::Owned(why),
                layers: 0,
                mode,
                close: rule.close,
            });
        }
    }

    fn verdict(mut self, message: &[u8]) -> Verdict {
        if self.blocked {
            let finding = self.findings.pop().expect("it blocked by one");
            return Verdict::Block(finding);
        }
        if !self.masks.is_empty() {
            return Verdict::Replace(spliced(message, &self.masks), self.findings);
        }
        if self.findings.is_empty() {
            Verdict::Pass
        } else {
            Verdict::Monitor(self.findings)
        }
    }
}

impl Sink for Look<'_> {
    fn leaf(&mut self, leaf: Leaf<'_>) -> bool {
        if self.leaving {
            return self.leaving(&leaf);
        }
        match leaf.place {
            Place::Number | Place::Word => true,
            Place::Key => self.key(&leaf) && self.text(leaf.text, leaf.path, true, Scope::Strict),
            Place::Text => {
                let scope = self.scope(leaf.path);
                self.text(leaf.text, leaf.path, false, scope)
            }
        }
    }

    /// What is wrong inside of a string is that string's own affair: it may be no JSON at all.
    fn fault(&mut self, fault: Fault, path: Path<'_>) -> bool {
        if self.leaving || self.outer.is_some() {
            return true;
        }
        self.structural(fault as usize, path)
    }
}

/// The message with other octets in some places, which are in order.
fn spliced(message: &[u8], masks: &[(Range<usize>, Vec<u8>)]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(message.len() + 16);
    let mut at = 0;
    for (range, octets) in masks {
        whole.extend_from_slice(&message[at..range.start]);
        whole.extend_from_slice(octets);
        at = range.end;
    }
    whole.extend_from_slice(&message[at..]);
    whole
}

/// A server may send what it likes; the walk needs no limits to end.
const UNLIMITED: JsonLimits = JsonLimits {
    max_depth: usize::MAX,
    max_nodes: usize::MAX,
    max_key_length: usize::MAX,
    max_keys: usize::MAX,
    max_number_length: usize::MAX,
};

/// Nothing shorter is an attack.
const SHORTEST: usize = 3;

/// More of them tell nothing new about a message.
const MOST_FINDINGS: usize = 16;
