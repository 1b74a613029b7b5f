//! Changes between versions, in order, and which of them stand between a request and the newest version.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode, response};

use super::migrate_document::Document;
use super::migrate_pattern::Pattern;
use super::migrate_query::Query;
use super::version::Version;
use crate::error::{BoxError, ConfigError};

/// What a function of a change comes to; an error is answered with 500.
pub type ChangeResult = Result<(), BoxError>;

type Scope = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;
type Statuses = Arc<dyn Fn(StatusCode) -> bool + Send + Sync>;
type OnRequest = Arc<dyn Fn(&mut Parts) -> ChangeResult + Send + Sync>;
type OnQuery = Arc<dyn Fn(&mut Query) -> ChangeResult + Send + Sync>;
type OnResponse = Arc<dyn Fn(&mut response::Parts) -> ChangeResult + Send + Sync>;
type OnBody = Arc<dyn Fn(&mut Document<'_>) -> ChangeResult + Send + Sync>;

/// One change of an API: how requests from before it are brought up, and how responses are brought down for those who
/// do not know it.
///
/// Without a scope it is about every request. Functions for bodies see JSON alone: of `application/json` and `…+json`,
/// without content coding. Numbers are kept as `serde_json` keeps them: beyond 64 bits only with its feature
/// `arbitrary_precision`; the order of members only with `preserve_order`.
#[derive(Clone)]
#[must_use]
pub struct Change {
    name: Box<str>,
    patterns: Vec<Result<Pattern, Box<str>>>,
    methods: Vec<Method>,
    scope: Option<Scope>,
    statuses: Option<Statuses>,
    /// Members as they end in a document, with the closing quote.
    members: Vec<Box<str>>,
    on_request: Option<OnRequest>,
    on_query: Option<OnQuery>,
    on_request_body: Option<OnBody>,
    on_response: Option<OnResponse>,
    on_response_body: Option<OnBody>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("name", &self.name)
            .field("patterns", &self.patterns)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

impl Change {
    /// A change; the name says what changed and appears in errors.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            patterns: Vec::new(),
            methods: Vec::new(),
            scope: None,
            statuses: None,
            members: Vec::new(),
            on_request: None,
            on_query: None,
            on_request_body: None,
            on_response: None,
            on_response_body: None,
        }
    }

    /// Only for paths of this pattern: `/orders/{id}`, where `{…}` is one segment, and at the end `{*…}` any number of
    /// segments, at least one. Of several patterns one has to fit. The path is the one that the layer sees: without a
    /// version that was taken out of it, and without what axum's `nest` took away.
    pub fn path(mut self, pattern: &str) -> Self {
        self.patterns.push(Pattern::new(pattern).ok_or_else(|| pattern.into()));
        self
    }

    /// Only for this method; may be called several times. `GET` is about `HEAD` too.
    pub fn method(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    /// Only for requests of which this is true. A request is seen as older changes have left it.
    pub fn when(mut self, scope: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.scope = Some(Arc::new(scope));
        self
    }

    /// Which responses are brought down. Default: the successful ones (2xx), because errors mostly have a form of their
    /// own. 304 counts as the 200 that it stands for; 1xx are never brought down.
    pub fn statuses(mut self, statuses: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.statuses = Some(Arc::new(statuses));
        self
    }

    /// Only for bodies with a member of this name, at any depth; of several names one has to be there. Where it is in
    /// none of the changes' bodies, a body is searched for the names and not read as JSON, and stays octet by octet.
    /// The functions still have to cope with bodies without it: names are searched in a hurry, and what other changes
    /// have touched is not searched again.
    pub fn member(mut self, name: &str) -> Self {
        self.members.push(format!("{name}\"").into());
        self
    }

    /// Brings method, target and fields of a request up.
    pub fn request(mut self, up: impl Fn(&mut Parts) -> ChangeResult + Send + Sync + 'static) -> Self {
        self.on_request = Some(Arc::new(up));
        self
    }

    /// Brings the query of a request up; after [`Change::request`].
    pub fn request_query(mut self, up: impl Fn(&mut Query) -> ChangeResult + Send + Sync + 'static) -> Self {
        self.on_query = Some(Arc::new(up));
        self
    }

    /// Brings the body of a request up. It is whatever a client sends: `document["member"] = …` of `serde_json` panics where
    /// the document is no object, `document.get_mut("member")` is `None` then. What says it is JSON and cannot be read is refused when a function looks at it:
    /// 400. A body that no function takes mutably stays octet by octet; see [`Document`].
    pub fn request_body(
        mut self,
        up: impl Fn(&mut Document<'_>) -> ChangeResult + Send + Sync + 'static,
    ) -> Self {
        self.on_request_body = Some(Arc::new(up));
        self
    }

    /// Brings status and fields of a response down, whatever its body is.
    pub fn response(
        mut self,
        down: impl Fn(&mut response::Parts) -> ChangeResult + Send + Sync + 'static,
    ) -> Self {
        self.on_response = Some(Arc::new(down));
        self
    }

    /// Brings the body of a response down. One that no function takes mutably stays octet by octet; see [`Document`].
    pub fn response_body(
        mut self,
        down: impl Fn(&mut Document<'_>) -> ChangeResult + Send + Sync + 'static,
    ) -> Self {
        self.on_response_body = Some(Arc::new(down));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn does_nothing(&self) -> bool {
        self.on_request.is_none()
            && self.on_query.is_none()
            && self.on_request_body.is_none()
            && self.on_response.is_none()
            && self.on_response_body.is_none()
    }

    fn is_about(&self, request: &Parts) -> bool {
        let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
        let fits =
            |pattern: &Result<Pattern, _>| pattern.as_ref().is_ok_and(|p| p.matches(request.uri.path()));
        (self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(&request.method))
            && (self.patterns.is_empty() || self.patterns.iter().any(fits))
            && self.scope.as_ref().is_none_or(|scope| scope(request))
    }

    /// Whether a response of that status is brought down.
    fn brings_down(&self, status: StatusCode) -> bool {
        // RFC 9110 §15.4.5: what a 200 would have said.
        let status = if status == StatusCode::NOT_MODIFIED { StatusCode::OK } else { status };
        !status.is_informational()
            && self.statuses.as_ref().map_or(status.is_success(), |statuses| statuses(status))
    }

    /// Whether its members may be in that text. A name may be written with escapes (RFC 8259 §7).
    fn may_concern(&self, text: &str, escapes: &mut Option<bool>) -> bool {
        self.members.is_empty()
            || self.members.iter().any(|member| text.contains(&**member))
            || *escapes.get_or_insert_with(|| text.contains('\\'))
    }

    fn raise_head(&self, request: &mut Parts) -> ChangeResult {
        if let Some(up) = &self.on_request {
            up(request)?;
        }
        if let Some(up) = &self.on_query {
            let mut query = Query::of(&request.uri);
            up(&mut query)?;
            query.write_to(&mut request.uri)?;
        }
        Ok(())
    }
}

/// All changes, ascending by the version that brought them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    steps: Vec<(Version, Change)>,
}

/// The changes between a request and the newest version.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) version: Version,
    /// Indices of the changes, ascending.
    steps: Vec<usize>,
    /// What one of them is about.
    pub(crate) request_body: bool,
    pub(crate) response_body: bool,
}

/// A change that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) step: usize,
    pub(crate) error: BoxError,
}

impl Changes {
    pub(crate) fn new(steps: Vec<(Version, Change)>) -> Result<Self, ConfigError> {
        if let Some(pair) = steps.windows(2).find(|pair| pair[0].0 > pair[1].0) {
            let ((before, _), (after, change)) = (&pair[0], &pair[1]);
            let reason = format!("`{}` of version {after} stands behind one of {before}", change.name);
            return Err(ConfigError::new("change", reason));
        }
        for (_, change) in &steps {
            if let Some(Err(pattern)) = change.patterns.iter().find(|pattern| pattern.is_err()) {
                let reason = format!("`{pattern}` of `{}` is no pattern of a path", change.name);
                return Err(ConfigError::new("path", reason));
            }
            if change.does_nothing() {
                return Err(ConfigError::new("change", format!("`{}` changes nothing", change.name)));
            }
        }
        Ok(Self { steps })
    }

    pub(crate) fn step(&self, index: usize) -> (Version, &Change) {
        let (version, change) = &self.steps[index];
        (*version, change)
    }

    /// Whether there are changes that a request of that version does not know.
    pub(crate) fn has_after(&self, version: Version) -> bool {
        self.steps.last().is_some_and(|(newest, _)| *newest > version)
    }

    /// Brings the head of a request up. `None` when no change is about it, and then it is as it was.
    pub(crate) fn raise(&self, version: Version, request: &mut Parts) -> Result<Option<Plan>, Failed> {
        let first = self.steps.partition_point(|(changed, _)| *changed <= version);
        let mut plan = Plan { version, steps: Vec::new(), request_body: false, response_body: false };
        let many = self.steps.len() - first;
        for (step, (_, change)) in self.steps.iter().enumerate().skip(first) {
            if !change.is_about(request) {
                continue;
            }
            change.raise_head(request).map_err(|error| Failed { step, error })?;
            if plan.steps.is_empty() {
                plan.steps.reserve_exact(many);
            }
            plan.steps.push(step);
            plan.request_body |= change.on_request_body.is_some();
            plan.response_body |= change.on_response_body.is_some();
        }
        Ok((!plan.steps.is_empty()).then_some(plan))
    }

    /// Brings the body of a request up; `None` when it stays as it is.
    pub(crate) fn raise_body(&self, plan: &Plan, body: &[u8]) -> Result<Option<Vec<u8>>, BodyError> {
        let steps = plan.steps.iter().map(|&step| (step, &self.steps[step].1));
        translate(
            body,
            steps.filter_map(|(step, change)| Some((step, change, change.on_request_body.as_ref()?))),
        )
    }

    /// The changes that a response of that status is brought down through, newest first.
    fn down(&self, plan: &Plan, status: StatusCode) -> impl Iterator<Item = (usize, &Change)> {
        let steps = plan.steps.iter().rev().map(|&step| (step, &self.steps[step].1));
        steps.filter(move |(_, change)| change.brings_down(status))
    }

    /// Whether a body of that status is brought down.
    pub(crate) fn lowers_body(&self, plan: &Plan, status: StatusCode) -> bool {
        plan.response_body && self.down(plan, status).any(|(_, change)| change.on_response_body.is_some())
    }

    /// Brings the head of a response down.
    pub(crate) fn lower(&self, plan: &Plan, response: &mut response::Parts) -> Result<(), Failed> {
        for (step, change) in self.down(plan, response.status) {
            if let Some(down) = &change.on_response {
                down(response).map_err(|error| Failed { step, error })?;
            }
        }
        Ok(())
    }

    /// Brings the body of a response down; `None` when it stays as it is.
    pub(crate) fn lower_body(
        &self,
        plan: &Plan,
        status: StatusCode,
        body: &[u8],
    ) -> Result<Option<Vec<u8>>, BodyError> {
        let steps = self.down(plan, status);
        translate(
            body,
            steps.filter_map(|(step, change)| Some((step, change, change.on_response_body.as_ref()?))),
        )
    }
}

/// Why a body cannot be translated.
#[derive(Debug)]
pub(crate) enum BodyError {
    Malformed(BoxError),
    Failed(Failed),
}

/// Read when the first change looks at it, and written once.
fn translate<'a>(
    body: &[u8],
    steps: impl Iterator<Item = (usize, &'a Change, &'a OnBody)>,
) -> Result<Option<Vec<u8>>, BodyError> {
    let malformed = |error: BoxError| BodyError::Malformed(error);
    let text = std::str::from_utf8(body).map_err(|error| malformed(error.into()))?;
    let mut escapes = None;
    let mut document = Document::new(text);
    for (step, change, function) in steps {
        if !document.is_changed() && !change.may_concern(text, &mut escapes) {
            continue;
        }
        let done = function(&mut document);
        if let Some(error) = document.error() {
            return Err(malformed(error.into()));
        }
        done.map_err(|error| BodyError::Failed(Failed { step, error }))?;
    }
    document.written().map_err(|error| malformed(error.into()))
}
