use std::fmt;
use std::str::FromStr;

/// The requests that a rule applies to: `GET /v1/projects`, `* /v1/api-keys/*`.
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
    /// Written `*`.
    Any,
    /// Written as itself.
    One(String),
}

/// A path from the root, without a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// Only this path: `/v1/projects`.
    Exact(String),
    /// Every path with this prefix, which ends in `/`: written `/v1/api-keys/*`.
    Below(String),
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

    /// A WebSocket API's only route with an authorizer. Its ARN has neither method nor path: `…/{stage}/$connect`.
    const CONNECT: &str = "$connect";

    /// GET and HEAD on every path: the scope `read`.
    pub(super) fn all_reads() -> Vec<Self> {
        let all = |method: &str| Self {
            method: MethodPattern::One(method.to_owned()),
            path: PathPattern::Below("/".to_owned()),
        };
        vec![all("GET"), all("HEAD")]
    }

    pub(super) fn matches(&self, method: &str, path: &str) -> bool {
        let method_matches = match &self.method {
            MethodPattern::Any => Self::METHODS.contains(&method),
            MethodPattern::One(name) => name == method,
        };
        method_matches
            && match &self.path {
                PathPattern::Exact(exact) => exact == path,
                PathPattern::Below(prefix) => path.starts_with(prefix),
            }
    }

    /// The requests that both routes match. Two patterns never overlap in part, neither methods nor paths: either one
    /// contains the other, or they have nothing in common.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let method = match (&self.method, &other.method) {
            (MethodPattern::Any, narrow) | (narrow, MethodPattern::Any) => narrow,
            (ours, theirs) if ours == theirs => ours,
            _ => return None,
        };
        let path = if self.path.covers(&other.path) {
            &other.path
        } else if other.path.covers(&self.path) {
            &self.path
        } else {
            return None;
        };
        Some(Self { method: method.clone(), path: path.clone() })
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.method == MethodPattern::Any || self.method == other.method) && self.path.covers(&other.path)
    }
}

impl PathPattern {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(ours), Self::Exact(theirs)) => ours == theirs,
            (Self::Exact(_), Self::Below(_)) => false,
            (Self::Below(prefix), Self::Exact(path) | Self::Below(path)) => path.starts_with(prefix),
        }
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::CONNECT {
            return Ok(Self { method: MethodPattern::One(text.to_owned()), path: PathPattern::Exact(String::new()) });
        }
        let (method, path) =
            text.split_once(' ').ok_or("route: expected a method, a space and a path: GET /v1/projects")?;
        let method = match method {
            "*" => MethodPattern::Any,
            name if Self::METHODS.contains(&name) => MethodPattern::One(name.to_owned()),
            _ => return Err(format!("route: expected one of {} or *", Self::METHODS.join(", "))),
        };
        Ok(Self { method, path: path.parse()? })
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        // `unreserved` of RFC 3986: API Gateway compares these characters as written. `*` and `?` are wildcards in a policy.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let plain = path.strip_suffix('*').unwrap_or(path);
        if !plain.starts_with('/') || !plain.bytes().all(is_plain) || plain.contains("//") {
            return Err("route: a path starts with / and contains letters, digits, - . _ ~ and /, and * only as its \
                        last segment"
                .into());
        }
        if plain.contains("/.") {
            return Err("route: no path segment starts with a dot".into());
        }
        if path.ends_with('*') {
            if !plain.ends_with('/') {
                return Err("route: * stands for whole path segments: /v1/projects/*".into());
            }
            return Ok(Self::Below(plain.to_owned()));
        }
        if path.len() > 1 && path.ends_with('/') {
            return Err("route: a path does not end in /".into());
        }
        Ok(Self::Exact(path.to_owned()))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &self.method {
            MethodPattern::Any => "*",
            MethodPattern::One(name) => name,
        };
        match &self.path {
            PathPattern::Exact(path) if path.is_empty() => f.write_str(method),
            PathPattern::Exact(path) => write!(f, "{method} {path}"),
            PathPattern::Below(prefix) => write!(f, "{method} {prefix}*"),
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
        for text in ["GET /v1/projects", "* /v1/api-keys/*", "GET /", "* /*", "$connect"] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
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
            ("GET /*/a", "* only as its last segment"),
            ("GET /a?", "a path starts with /"),
            ("GET /a%2Fb", "a path starts with /"),
            ("GET /a/../b", "no path segment starts with a dot"),
            ("GET /.env", "no path segment starts with a dot"),
            ("GET /a//b", "a path starts with /"),
            ("GET /a/", "does not end in /"),
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
            ("$connect", "$connect", Some("$connect")),
        ] {
            let [one, other]: [Route; 2] = [one, other].map(|text| text.parse().unwrap());
            for seen in [one.intersection(&other), other.intersection(&one)] {
                assert_eq!(seen.map(|route| route.to_string()).as_deref(), both, "{one} and {other}");
            }
        }
    }
}
