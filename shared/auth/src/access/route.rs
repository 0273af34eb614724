use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The requests that a rule applies to, as API Gateway writes a route: `GET /v1/projects/{id}`, `ANY /files/{proxy+}`,
/// `* /v1/api-keys/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method.
    pub method: MethodPattern,
    /// The path.
    pub path: PathPattern,
}

/// A method in capitals, or every method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodPattern {
    /// Written `*` or `ANY`.
    Any,
    /// Written as itself.
    One(String),
}

/// A path from the root, without a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// The segments: `/v1/projects/{id}` has three.
    pub segments: Vec<Segment>,
    /// What follows them.
    pub rest: Rest,
}

/// One segment of a path. Parameters are equal whatever their names.
#[derive(Clone, Debug, Eq)]
pub enum Segment {
    /// Written as itself.
    Literal(String),
    /// Any segment that isn't empty: written `{id}`.
    Parameter(String),
}

impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(ours), Self::Literal(theirs)) => ours == theirs,
            (Self::Parameter(_), Self::Parameter(_)) => true,
            _ => false,
        }
    }
}

/// The part of a path after its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// One segment or more: written `/{proxy+}`.
    Greedy,
    /// The same, and below the root also the root itself: written `/*`.
    Below,
}

impl MethodPattern {
    pub(super) fn matches(&self, method: &str) -> bool {
        match self {
            Self::Any => Route::METHODS.contains(&method),
            Self::One(name) => name == method,
        }
    }

    /// Whether a method matches both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Any, Self::One(name)) | (Self::One(name), Self::Any) => Self::Any.matches(name),
            (Self::One(ours), Self::One(theirs)) => ours == theirs,
        }
    }
}

impl Route {
    /// Every method that a rule can name, and that `*` stands for.
    pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    /// Substrings that make a path ambiguous, as a trailing slash does: the router, or a backend behind a proxy route, may
    /// resolve it to a different path than the rules were asked about. API Gateway itself routes `/v1/projects/` to the
    /// resource `/v1/projects`, but names the former to the authorizer.
    ///
    /// docs/decisions.md, "One path, one spelling", gives the reasons for these and for no more. A policy names each of
    /// them, so there are few, and control characters are recognised by their first digit.
    pub const AMBIGUOUS: [&str; 15] =
        ["//", "/.", "\\", ";", "%0", "%1", "%25", "%2e", "%2E", "%2f", "%2F", "%3b", "%3B", "%5c", "%5C"];

    /// Whether a path can be read in two ways. No rule applies to such a path, so nobody can call it.
    pub fn is_ambiguous(path: &str) -> bool {
        // One hand-written pass, because every request comes through here. A test compares it with the list above.
        let mut rest = path.as_bytes();
        while let [_, tail @ ..] = rest {
            if let [b'/', b'/' | b'.', ..]
            | [b'\\' | b';', ..]
            | [b'%', b'0' | b'1', ..]
            | [b'%', b'2', b'5' | b'e' | b'E' | b'f' | b'F', ..]
            | [b'%', b'3', b'b' | b'B', ..]
            | [b'%', b'5', b'c' | b'C', ..] = rest
            {
                return true;
            }
            rest = tail;
        }
        path.len() > 1 && path.ends_with('/')
    }

    /// Whether a policy would read a part of the path as a wildcard or a variable. Such a path can't be named in a policy.
    pub(super) fn has_policy_syntax(path: &str) -> bool {
        path.contains(['*', '?']) || path.contains("${")
    }

    /// A WebSocket API's only route with an authorizer. Its ARN has neither method nor path: `…/{stage}/$connect`.
    pub const CONNECT: &str = "$connect";

    /// GET and HEAD on every path: the scope `read`.
    pub(super) fn all_reads() -> Vec<Self> {
        ["GET", "HEAD"]
            .map(|method| Self {
                method: MethodPattern::One(method.to_owned()),
                path: PathPattern { segments: Vec::new(), rest: Rest::Below },
            })
            .to_vec()
    }

    /// The requests that both routes match.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        if !self.overlaps(other) {
            return None;
        }
        let method = if self.method == MethodPattern::Any { &other.method } else { &self.method };
        Some(Self { method: method.clone(), path: self.path.intersection(&other.path)? })
    }

    /// Whether a request matches both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.method.meets(&other.method) && self.path.overlaps(&other.path)
    }

    /// Whether a lookup prefers this route to `other`, which has requests in common with it.
    pub(super) fn is_more_specific_than(&self, other: &Self) -> bool {
        self.path
            .rank()
            .cmp(other.path.rank())
            .then_with(|| (self.method == MethodPattern::Any).cmp(&(other.method == MethodPattern::Any)))
            .is_lt()
    }

    fn is_connect(&self) -> bool {
        matches!(&self.method, MethodPattern::One(name) if name == Self::CONNECT)
    }
}

impl PathPattern {
    fn intersection(&self, other: &Self) -> Option<Self> {
        if !self.overlaps(other) {
            return None;
        }
        let (short, long) = if self.segments.len() <= other.segments.len() { (self, other) } else { (other, self) };
        let mut both = long.clone();
        for (segment, ours) in both.segments.iter_mut().zip(&short.segments) {
            if matches!(segment, Segment::Parameter(_)) {
                *segment = ours.clone();
            }
        }
        if short.segments.len() == long.segments.len() {
            both.rest = short.rest.min(long.rest);
        }
        Some(both)
    }

    /// Whether a path matches both.
    fn overlaps(&self, other: &Self) -> bool {
        let differs = |(ours, theirs): (&Segment, &Segment)| matches!((ours, theirs), (Segment::Literal(ours), Segment::Literal(theirs)) if ours != theirs);
        if self.segments.iter().zip(&other.segments).any(differs) {
            return false;
        }
        match self.segments.len().cmp(&other.segments.len()) {
            Ordering::Less => self.rest != Rest::Nothing,
            Ordering::Greater => other.rest != Rest::Nothing,
            Ordering::Equal => {
                let ends = |pattern: &Self| pattern.rest == Rest::Nothing;
                // Below the root includes the root.
                let is_root = self.segments.is_empty() && self.rest.max(other.rest) == Rest::Below;
                ends(self) == ends(other) || is_root
            }
        }
    }

    /// Lower is more specific.
    fn rank(&self) -> impl Iterator<Item = usize> {
        let segments = self.segments.iter().map(|segment| usize::from(matches!(segment, Segment::Parameter(_))));
        segments.chain([match self.rest {
            Rest::Nothing => 0,
            Rest::Greedy => 2,
            Rest::Below => 3,
        }])
    }

    /// The path in a policy, whose `*` matches any characters, including `/`, and `?` one.
    pub fn policy(&self) -> String {
        self.policy_with_excess(None)
    }

    /// The paths that [`Self::policy`] matches, and this pattern doesn't: a parameter that contains a `/`. An empty parameter
    /// is ambiguous ([`Route::is_ambiguous`]).
    pub fn excess(&self) -> Vec<String> {
        let is_parameter = |at: &usize| matches!(self.segments[*at], Segment::Parameter(_));
        (0..self.segments.len()).filter(is_parameter).map(|at| self.policy_with_excess(Some(at))).collect()
    }

    /// The path in a policy, where the parameter at `excess` contains a `/`.
    fn policy_with_excess(&self, excess: Option<usize>) -> String {
        let mut path = String::new();
        for (at, segment) in self.segments.iter().enumerate() {
            path.push('/');
            path.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::Parameter(_) if excess == Some(at) => "*/*",
                Segment::Parameter(_) => "*",
            });
        }
        path.push_str(match self.rest {
            Rest::Nothing if self.segments.is_empty() => "/",
            Rest::Nothing => "",
            Rest::Greedy => "/?*",
            Rest::Below => "/*",
        });
        path
    }

    /// Whether a path of this pattern matches `glob`, a path of [`Self::excess`]: a search through both patterns at once.
    pub(super) fn meets_glob(&self, glob: &str) -> bool {
        /// One byte, or any number: of a segment, or of a path.
        #[derive(Clone, Copy, PartialEq)]
        enum Token {
            Byte(u8),
            InSegment,
            AnyInSegment,
            Any,
        }
        use Token::{Any, AnyInSegment, Byte, InSegment};
        let of_glob = |byte| if byte == b'*' { Any } else { Byte(byte) };
        let glob: Vec<Token> = glob.bytes().map(of_glob).collect();
        let mut path = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => path.extend(format!("/{text}").bytes().map(Byte)),
                Segment::Parameter(_) => path.extend([Byte(b'/'), InSegment, AnyInSegment]),
            }
        }
        if self.segments.is_empty() || self.rest != Rest::Nothing {
            path.push(Byte(b'/'));
        }
        if self.rest != Rest::Nothing {
            path.push(Any);
        }
        let repeats = |token: Token| matches!(token, Any | AnyInSegment);
        let share = |one: Token, other: Token| match (one, other) {
            (Byte(ours), Byte(theirs)) => ours == theirs,
            (Byte(byte), InSegment | AnyInSegment) => byte != b'/',
            _ => true,
        };
        let (mut seen, mut open) = (vec![false; (glob.len() + 1) * (path.len() + 1)], vec![(0, 0)]);
        while let Some((ours, theirs)) = open.pop() {
            if std::mem::replace(&mut seen[ours * (path.len() + 1) + theirs], true) {
                continue;
            }
            match (glob.get(ours).copied(), path.get(theirs).copied()) {
                (None, None) => return true,
                (one, other) => {
                    if one.is_some_and(repeats) {
                        open.push((ours + 1, theirs));
                    }
                    if other.is_some_and(repeats) {
                        open.push((ours, theirs + 1));
                    }
                    if let (Some(one), Some(other)) = (one, other)
                        && share(one, other)
                    {
                        open.push((ours + usize::from(!repeats(one)), theirs + usize::from(!repeats(other))));
                    }
                }
            }
        }
        false
    }

    /// The names of the parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::CONNECT {
            let path = PathPattern { segments: Vec::new(), rest: Rest::Nothing };
            return Ok(Self { method: MethodPattern::One(text.to_owned()), path });
        }
        let (method, path) =
            text.split_once(' ').ok_or("route: expected a method, a space and a path: GET /v1/projects")?;
        let method = match method {
            "*" | "ANY" => MethodPattern::Any,
            name if Self::METHODS.contains(&name) => MethodPattern::One(name.to_owned()),
            _ => return Err(format!("route: expected one of {}, ANY or *", Self::METHODS.join(", "))),
        };
        Ok(Self { method, path: path.parse()? })
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        const EXPECTED: &str = "route: a path starts with / and contains letters, digits, - . _ ~ and :, {id} for a parameter, \
                                and * or {proxy+} only as its last segment";
        let mut pattern = Self { segments: Vec::new(), rest: Rest::Nothing };
        let Some(segments) = path.strip_prefix('/') else { return Err(EXPECTED.into()) };
        if segments.is_empty() {
            return Ok(pattern);
        }
        // `unreserved` of RFC 3986 and `:`, which API Gateway compares as written. `*` and `?` are wildcards in a policy.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(is_plain);
        let mut segments = segments.split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            let parameter = segment.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            match (segment, parameter) {
                ("*", _) if is_last => pattern.rest = Rest::Below,
                (_, Some(name)) if is_last && name.strip_suffix('+').is_some_and(is_name) => {
                    pattern.rest = Rest::Greedy;
                }
                (_, Some(name)) if is_name(name) => {
                    if pattern.parameters().any(|known| known == name) {
                        return Err(format!("route: two parameters are called {name}"));
                    }
                    pattern.segments.push(Segment::Parameter(name.to_owned()));
                }
                ("", _) if is_last => return Err("route: a path does not end in /".into()),
                _ if segment.starts_with('.') => return Err("route: no path segment starts with a dot".into()),
                _ if segment.len() > 1 && segment.ends_with('*') => {
                    return Err("route: * stands for whole path segments: /v1/projects/*".into());
                }
                _ if is_name(segment) => pattern.segments.push(Segment::Literal(segment.to_owned())),
                _ => return Err(EXPECTED.into()),
            }
        }
        Ok(pattern)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &self.method {
            MethodPattern::Any => "*",
            MethodPattern::One(name) => name,
        };
        f.write_str(method)?;
        if self.is_connect() { Ok(()) } else { write!(f, " {}", self.path) }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match self.rest {
            Rest::Nothing if self.segments.is_empty() => f.write_str("/"),
            Rest::Nothing => Ok(()),
            Rest::Greedy => f.write_str("/{proxy+}"),
            Rest::Below => f.write_str("/*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listed_substrings_are_what_makes_a_path_ambiguous() {
        let listed = |path: &str| {
            Route::AMBIGUOUS.iter().any(|part| path.contains(part)) || (path.len() > 1 && path.ends_with('/'))
        };
        // Every pair of characters, and everything that two hexadecimal digits can encode.
        let ascii = || (0..=0x7f_u8).map(char::from);
        let pairs = ascii().flat_map(|first| ascii().map(move |second| format!("/a{first}{second}b")));
        let encoded = ascii().flat_map(|first| ascii().map(move |second| format!("/a%{first}{second}b")));
        for path in pairs.chain(encoded).chain([String::new(), "/".into(), "/a/".into(), "/a%".into(), "/a%2".into()]) {
            assert_eq!(Route::is_ambiguous(&path), listed(&path), "{path:?}");
        }
    }

    #[test]
    fn a_route_is_written_as_it_is_read() {
        for text in [
            "GET /v1/projects",
            "* /v1/api-keys/*",
            "GET /",
            "* /*",
            "$connect",
            "GET /v1/projects/{id}/members",
            "* /files/{proxy+}",
            "POST /v1/{a}/{b}/x:cancel",
        ] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        assert_eq!("ANY /a".parse::<Route>(), "* /a".parse());
        assert!("GET $connect".parse::<Route>().is_err());
        assert!("$disconnect".parse::<Route>().is_err());
    }

    #[test]
    fn a_malformed_route_is_refused_with_the_reason() {
        for (route, reason) in [
            ("/a", "expected a method"),
            ("FETCH /a", "expected one of GET"),
            ("get /a", "expected one of GET"),
            ("GET a", "a path starts with /"),
            ("GET /a*", "* stands for whole path segments"),
            ("GET /*/a", "only as its last segment"),
            ("GET /a?", "a path starts with /"),
            ("GET /a%2Fb", "a path starts with /"),
            ("GET /a/../b", "no path segment starts with a dot"),
            ("GET /.env", "no path segment starts with a dot"),
            ("GET /a//b", "a path starts with /"),
            ("GET /a/", "does not end in /"),
            ("GET /{a", "{id} for a parameter"),
            ("GET /a{b}", "{id} for a parameter"),
            ("GET /{}", "{id} for a parameter"),
            ("GET /{a+}/b", "{proxy+} only as its last segment"),
            ("GET /{a}/{a}", "two parameters are called a"),
        ] {
            let problem = route.parse::<Route>().unwrap_err();
            assert!(problem.contains(reason), "{route}: {problem}");
        }
    }

    #[test]
    fn two_routes_intersect_in_the_requests_that_match_both() {
        for (one, other, both) in [
            ("GET /a", "GET /a", Some("GET /a")),
            ("* /a", "GET /a", Some("GET /a")),
            ("GET /a/*", "* /a/b/*", Some("GET /a/b/*")),
            ("GET /a/*", "GET /a", None),
            ("GET /a", "POST /a", None),
            ("GET /a", "GET /b", None),
            ("GET /a/*", "GET /ab/*", None),
            ("* /*", "* /a", Some("* /a")),
            ("$connect", "* /*", None),
            ("$connect", "* /", None),
            ("GET /", "GET /*", Some("GET /")),
            ("GET /", "GET /{proxy+}", None),
            ("GET /*", "GET /{proxy+}", Some("GET /{proxy+}")),
            ("GET /a", "GET /a/{proxy+}", None),
            ("GET /{id}", "* /a", Some("GET /a")),
            ("GET /{x}/b", "GET /a/{y}", Some("GET /a/b")),
            ("GET /{x}/b", "GET /a/c", None),
            ("GET /{x}", "GET /a/*", None),
            ("GET /{x}/{y}/{z}", "GET /a/*", Some("GET /a/{y}/{z}")),
            ("GET /a/{proxy+}", "GET /{x}/*", Some("GET /a/{proxy+}")),
            ("$connect", "$connect", Some("$connect")),
        ] {
            let [one, other]: [Route; 2] = [one, other].map(|text| text.parse().unwrap());
            for seen in [one.intersection(&other), other.intersection(&one)] {
                assert_eq!(seen.map(|route| route.to_string()).as_deref(), both, "{one} and {other}");
            }
        }
    }
}
