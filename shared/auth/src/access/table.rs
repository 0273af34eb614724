use super::route::{MethodPattern, PathPattern, Rest, Route, Segment};
use std::collections::BTreeMap;

/// Values by route. A lookup finds the most specific route, as API Gateway does: segment by segment, a literal is more specific
/// than a parameter, and both are more specific than the rest of a path; for the same path, a method is more specific than `*`.
#[derive(Debug)]
pub struct RouteTable<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    literals: BTreeMap<String, Node<T>>,
    parameter: Option<Box<Node<T>>>,
    /// The routes that end here, and those that continue with the rest of a path.
    routes: Vec<(MethodPattern, Rest, T)>,
}

/// The request's path, or the path of the route that API Gateway matched it with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Path(&'a str),
    /// Only a route that covers all of its paths is found.
    Resource(&'a str),
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: BTreeMap::new(), parameter: None, routes: Vec::new() }
    }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T: Copy> RouteTable<T> {
    /// Adds a route. Returns the value of a route with the same path and another method, if there is one. Fails with the value of
    /// the same route, if that was added before.
    pub fn insert(&mut self, route: &Route, value: T) -> Result<Option<T>, T> {
        let mut node = &mut self.root;
        for segment in &route.path.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        let is_here = |rest: Rest| ends(rest) == ends(route.path.rest);
        let same_path = |(_, rest, value): &(_, Rest, T)| is_here(*rest).then_some(*value);
        if let Some((_, _, same)) =
            node.routes.iter().find(|(method, rest, _)| *method == route.method && is_here(*rest))
        {
            return Err(*same);
        }
        let other = node.routes.iter().find_map(same_path);
        node.routes.push((route.method.clone(), route.path.rest, value));
        Ok(other)
    }
}

impl<T> RouteTable<T> {
    /// The value of the most specific route for a request.
    pub(super) fn find(&self, method: &str, place: Place<'_>) -> Option<&T> {
        let (Place::Path(path) | Place::Resource(path)) = place;
        if method == Route::CONNECT {
            return path.is_empty().then(|| self.root.route(method, ends)).flatten();
        }
        match path.strip_prefix('/')? {
            // Below the root includes the root.
            "" => self.root.route(method, ends).or_else(|| self.root.route(method, |rest| rest == Rest::Below)),
            path => self.root.find(method, Some(path), matches!(place, Place::Resource(_))),
        }
    }

    /// Whether a route that has requests in common with `route` has an accepted value.
    pub(super) fn meets(&self, route: &Route, accepts: &dyn Fn(&T) -> bool) -> bool {
        let PathPattern { segments, rest } = &route.path;
        let meets = |(method, _, value): &(MethodPattern, Rest, T)| method.meets(&route.method) && accepts(value);
        let root =
            |one: &(_, Rest, _)| matches!((one.1, *rest), (Rest::Below, Rest::Nothing) | (Rest::Nothing, Rest::Below));
        let at_root = segments.is_empty() && self.root.routes.iter().any(|one| root(one) && meets(one));
        at_root || self.root.meets(segments, *rest, &meets)
    }
}

impl<T> Node<T> {
    /// `path` is the part after the slash that follows this node, if there is one.
    fn find(&self, method: &str, path: Option<&str>, is_resource: bool) -> Option<&T> {
        let Some(path) = path else { return self.route(method, ends) };
        let (segment, after) = path.split_once('/').map_or((path, None), |(segment, after)| (segment, Some(after)));
        let is_variable = is_resource && segment.starts_with('{');
        let literal = || self.literals.get(segment)?.find(method, after, is_resource);
        let parameter = || self.parameter.as_ref()?.find(method, after, is_resource);
        let found = match () {
            () if is_variable && segment.ends_with("+}") => None,
            () if is_variable => parameter(),
            () if segment.is_empty() => literal(),
            () => literal().or_else(parameter),
        };
        found.or_else(|| self.route(method, |rest| !ends(rest)))
    }

    fn route(&self, method: &str, fits: impl Fn(Rest) -> bool) -> Option<&T> {
        let routes = || self.routes.iter().filter(|(pattern, rest, _)| fits(*rest) && pattern.matches(method));
        let one = routes().find(|(pattern, _, _)| *pattern != MethodPattern::Any);
        one.or_else(|| routes().next()).map(|(_, _, value)| value)
    }

    fn meets(&self, segments: &[Segment], rest: Rest, meets: &impl Fn(&(MethodPattern, Rest, T)) -> bool) -> bool {
        let Some((segment, after)) = segments.split_first() else {
            return match rest {
                Rest::Nothing => self.routes.iter().any(|one| one.1 == Rest::Nothing && meets(one)),
                _ => self.any_below(meets),
            };
        };
        let continues = || self.routes.iter().any(|one| one.1 != Rest::Nothing && meets(one));
        let parameter = || self.parameter.as_ref().is_some_and(|node| node.meets(after, rest, meets));
        let literal = || match segment {
            Segment::Literal(text) => self.literals.get(text).is_some_and(|node| node.meets(after, rest, meets)),
            Segment::Parameter(_) => self.literals.values().any(|node| node.meets(after, rest, meets)),
        };
        continues() || literal() || parameter()
    }

    fn any_below(&self, meets: &impl Fn(&(MethodPattern, Rest, T)) -> bool) -> bool {
        let children = self.literals.values().chain(self.parameter.as_deref());
        self.routes.iter().any(|one| one.1 != Rest::Nothing && meets(one))
            || children.into_iter().any(|node| node.routes.iter().any(meets) || node.any_below(meets))
    }
}

fn ends(rest: Rest) -> bool {
    rest == Rest::Nothing
}
