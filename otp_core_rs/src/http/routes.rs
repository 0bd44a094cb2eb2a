//! Which requests are answered here, by method and path.
//!
//! Paths are compared as they came, in bytes: what is percent-encoded, or needs to be and is not,
//! is nobody's here, and the other listener makes of it what it does. A literal segment goes before
//! a `{name}`, from left to right, and whatever the method is: a path of the other listener that a
//! pattern would take is named without a method.

use std::collections::{HashMap, HashSet};

use crate::error::Error;

const ROUTES_MAX: usize = 1024;

/// A method and a path; without a method, a path that is never answered here.
pub type Rule<'a> = (Option<&'a str>, &'a str);

/// Method and place in the list of rules.
type Methods = Vec<(String, u16)>;

#[derive(Debug, Clone)]
struct Pattern {
    /// Nothing stands for a parameter.
    segments: Vec<Option<String>>,
    methods: Methods,
}

/// The rules, for finding one.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    literal: HashMap<String, Methods>,
    /// The more literal ones first.
    patterns: Vec<Pattern>,
}

impl Routes {
    /// Reads rules such as `(Some("PUT"), "/otp/{uuid}/attempt")`.
    ///
    /// # Errors
    /// A path that is none, the same rule twice, or more than 1024 rules.
    pub fn new(rules: &[Rule<'_>]) -> Result<Self, Error> {
        if rules.len() > ROUTES_MAX {
            return Err(Error::Value("there can be 1024 routes"));
        }
        let mut routes = Self::default();
        let mut known = HashSet::new();
        for (place, (method, path)) in (0_u16..).zip(rules) {
            let segments = segments_of(path)?;
            if !known.insert((*method, segments.clone())) {
                return Err(Error::Value("a route is there twice"));
            }
            let methods = routes.methods_of(path, segments);
            if let Some(method) = method {
                methods.push(((*method).to_owned(), place));
            }
        }
        let weight = |segment: &Option<String>| segment.is_none();
        routes
            .patterns
            .sort_by_key(|pattern| pattern.segments.iter().map(weight).collect::<Vec<_>>());
        Ok(routes)
    }

    fn methods_of(&mut self, path: &str, segments: Vec<Option<String>>) -> &mut Methods {
        if segments.iter().all(Option::is_some) {
            return self.literal.entry(path.to_owned()).or_default();
        }
        let same = |pattern: &Pattern| pattern.segments == segments;
        let place = self.patterns.iter().position(same).unwrap_or_else(|| {
            let methods = Methods::new();
            self.patterns.push(Pattern { segments, methods });
            self.patterns.len() - 1
        });
        &mut self.patterns[place].methods
    }

    /// The rule's place in the list, and the path's parameters in order.
    ///
    /// HEAD is answered as GET.
    #[must_use]
    pub fn find<'path>(&self, method: &str, path: &'path str) -> Option<(u16, Vec<&'path str>)> {
        if let Some(methods) = self.literal.get(path) {
            return Some((rule_for(methods, method)?, Vec::new()));
        }
        let segments = || {
            path.strip_prefix('/')
                .into_iter()
                .flat_map(|path| path.split('/'))
        };
        let count = segments().count();
        let pattern = self.patterns.iter().find(|pattern| {
            pattern.segments.len() == count
                && pattern
                    .segments
                    .iter()
                    .zip(segments())
                    .all(|(wanted, found)| {
                        wanted
                            .as_ref()
                            .map_or_else(|| is_parameter(found), |wanted| wanted == found)
                    })
        })?;
        let parameters = pattern
            .segments
            .iter()
            .zip(segments())
            .filter(|(wanted, _)| wanted.is_none())
            .map(|(_, found)| found);
        Some((rule_for(&pattern.methods, method)?, parameters.collect()))
    }
}

fn rule_for(methods: &Methods, method: &str) -> Option<u16> {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let found = methods.iter().find(|(known, _)| known == wanted)?;
    Some(found.1)
}

fn segments_of(path: &str) -> Result<Vec<Option<String>>, Error> {
    const NO_PATH: Error = Error::Value("a route's path is as /a/{b}/c");
    let path = path.strip_prefix('/').ok_or(NO_PATH)?;
    path.split('/')
        .map(|segment| {
            let name = segment
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            if name.is_some_and(|name| !name.is_empty() && !name.contains(['{', '}'])) {
                Ok(None)
            } else if segment.is_empty() || is_parameter(segment) {
                Ok(Some(segment.to_owned()))
            } else {
                Err(NO_PATH)
            }
        })
        .collect()
}

/// Whether it is a segment of RFC 3986, not empty, with nothing encoded.
fn is_parameter(segment: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    !segment.is_empty() && segment.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rule<'_>; 8] = [
        (Some("PUT"), "/otp/{uuid}/attempt"),
        (Some("POST"), "/otp/init"),
        (Some("GET"), "/otp/{type}"),
        (Some("POST"), "/otp/{kind}"),
        (None, "/otp/crud"),
        (None, "/otp/crud/{id}"),
        (Some("GET"), "/"),
        (Some("POST"), "/{a}/b/{c}"),
    ];

    #[test]
    fn the_most_literal_path_decides_and_then_the_method() {
        let routes = Routes::new(&RULES).unwrap();
        for (method, path, found) in [
            ("PUT", "/otp/u-1/attempt", Some((0, vec!["u-1"]))),
            ("POST", "/otp/u-1/attempt", None),
            ("PUT", "/otp/crud/attempt", None),
            ("POST", "/otp/init", Some((1, vec![]))),
            ("GET", "/otp/init", None),
            ("GET", "/otp/mail", Some((2, vec!["mail"]))),
            ("HEAD", "/otp/mail", Some((2, vec!["mail"]))),
            ("POST", "/otp/mail", Some((3, vec!["mail"]))),
            ("PUT", "/otp/mail", None),
            ("POST", "/otp/crud", None),
            ("GET", "/otp/", None),
            ("GET", "/otp", None),
            ("GET", "/otp/a/", None),
            ("GET", "/otp//a", None),
            ("GET", "/otp/a%2Fb", None),
            ("POST", "/otp/%69nit", None),
            ("GET", "/otp/a#b", None),
            ("GET", "/otp/a\"", None),
            ("GET", "/", Some((6, vec![]))),
            ("GET", "", None),
            ("GET", "*", None),
            ("POST", "/x/b/y", Some((7, vec!["x", "y"]))),
            ("POST", "/otp/b/y", Some((7, vec!["otp", "y"]))),
        ] {
            assert_eq!(routes.find(method, path), found, "{method} {path}");
        }
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for path in ["", "a", "/{}", "/{a", "/a}", "/{a}{b}", "/a b", "/%41"] {
            assert!(Routes::new(&[(Some("GET"), path)]).is_err(), "{path}");
        }
        let twice = [(Some("GET"), "/{a}"), (Some("GET"), "/{b}")];
        assert!(Routes::new(&twice).is_err());
        assert!(Routes::new(&vec![(None, "/"); ROUTES_MAX + 1]).is_err());
    }
}
