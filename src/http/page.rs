//! Query parameters and pages. A list is read by keyset: the cursor is the last id that was given out, sealed so that a client cannot make one
//! up or carry one from another list. There are no totals: counting what has no bound has no bound.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, web};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::body::quoted;
use super::problem::{Problem, ProblemCode};

/// Created at this time or later.
pub const FROM: &str = "created_at[gte]";
/// Created later than this time.
pub const AFTER: &str = "created_at[gt]";
/// Created earlier than this time.
pub const BEFORE: &str = "created_at[lt]";
/// Created at this time or earlier.
pub const UNTIL: &str = "created_at[lte]";

/// Objects on a page, unless the request says otherwise.
const USUAL: i64 = 20;
/// And at most.
const MOST: i64 = 100;
/// Bytes of the seal behind the id.
const SEAL: usize = 8;

/// A request's query parameters, each known, given once, and not empty.
#[derive(Clone, Debug)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// The parameters of `request`, which must be among `known`.
    ///
    /// # Errors
    /// 400 `unknown_parameter` by name; 400 for one that is given twice, is empty, or cannot be decoded.
    pub fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_| Problem::new(ProblemCode::InvalidRequest, "The address's query cannot be decoded."))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs.into_inner() {
            let shown = quoted(&name);
            if !known.contains(&name.as_str()) {
                let detail = match known {
                    [] => format!("The parameter {shown} is unknown: this address takes none."),
                    _ => format!("The parameter {shown} is unknown. Known here: {}.", known.join(", ")),
                };
                return Err(Problem::new(ProblemCode::UnknownParameter, detail).about(shown));
            }
            if value.is_empty() {
                return Err(Problem::new(ProblemCode::InvalidRequest, format!("The parameter {shown} is empty: leave it out.")).about(shown));
            }
            if parameters.insert(name, value).is_some() {
                return Err(Problem::new(ProblemCode::InvalidRequest, format!("The parameter {shown} is given twice.")).about(shown));
            }
        }
        Ok(Self(parameters))
    }

    /// The parameter's text, never empty, unless it is left out.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The parameter as `parse` reads it; `must` says what it must be.
    ///
    /// # Errors
    /// 400.
    pub fn parsed<T>(&self, name: &'static str, must: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| Problem::new(ProblemCode::InvalidRequest, format!("{name} must be {must}.")).about(name))
    }

    /// A name as merchants give them: visible ASCII, at most 64 characters.
    ///
    /// # Errors
    /// 400.
    pub fn name(&self, name: &'static str) -> Result<Option<String>, Problem> {
        self.parsed(name, "1 to 64 visible ASCII characters", |text| {
            (text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
        })
    }

    /// A text of at most `longest` characters, which the database can hold.
    ///
    /// # Errors
    /// 400.
    pub fn words(&self, name: &'static str, longest: usize) -> Result<Option<String>, Problem> {
        let must = format!("at most {longest} characters, none of which is U+0000");
        self.parsed(name, &must, |text| (text.chars().count() <= longest && !text.contains('\0')).then(|| text.to_owned()))
    }

    /// A time.
    ///
    /// # Errors
    /// 400.
    pub fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        self.parsed(name, "an RFC 3339 time such as 2026-11-21T23:01:14Z", |text| text.parse().ok())
    }

    /// From when on, by `created_at[gte]` and `created_at[gt]`; the later counts when both are given. Times of objects are whole milliseconds.
    ///
    /// # Errors
    /// 400.
    pub fn since(&self) -> Result<Option<Timestamp>, Problem> {
        Ok(self.time(FROM)?.map(ceiling).max(self.time(AFTER)?.map(next_millisecond)))
    }

    /// Before when, by `created_at[lt]` and `created_at[lte]`; the earlier counts when both are given.
    ///
    /// # Errors
    /// 400.
    pub fn until(&self) -> Result<Option<Timestamp>, Problem> {
        let bounds = [self.time(BEFORE)?.map(ceiling), self.time(UNTIL)?.map(next_millisecond)];
        Ok(bounds.into_iter().flatten().min())
    }

    /// `true` or `false`; false when it is left out.
    ///
    /// # Errors
    /// 400.
    pub fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        let read = self.parsed(name, "true or false", |text| text.parse().ok())?;
        Ok(read.unwrap_or(false))
    }

    /// How many objects the page may have.
    ///
    /// # Errors
    /// 400.
    pub fn limit(&self) -> Result<i64, Problem> {
        let limit =
            self.parsed("limit", &format!("a whole number from 1 to {MOST}"), |text| text.parse().ok().filter(|limit| (1..=MOST).contains(limit)))?;
        Ok(limit.unwrap_or(USUAL))
    }

    /// The id at which the last page of `list` ended.
    ///
    /// # Errors
    /// 400 `invalid_cursor`.
    pub fn cursor(&self, secret: &[u8; 32], list: &str) -> Result<Option<Uuid>, Problem> {
        let Some(text) = self.text("cursor") else { return Ok(None) };
        open_cursor(secret, list, text).map(Some).ok_or_else(|| {
            Problem::new(ProblemCode::InvalidCursor, "The cursor is not one that this list gave out: take it from next_cursor, unchanged.")
                .about("cursor")
        })
    }
}

/// Ids keep milliseconds: a bound between two of them means the later one.
pub(super) fn ceiling(at: Timestamp) -> Timestamp {
    let floor = at.as_millisecond();
    let whole = Timestamp::from_millisecond(floor).ok().filter(|whole| *whole >= at);
    whole.or_else(|| Timestamp::from_millisecond(floor.saturating_add(1)).ok()).unwrap_or(at)
}

/// The first whole millisecond that is later.
fn next_millisecond(at: Timestamp) -> Timestamp {
    // What lies before the epoch is cut upwards; nothing of ours does.
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(1)).unwrap_or(at)
}

/// A page of a list, or all of a list that is short by nature.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` rows, each with its id. One row more than that only says that there is another page.
    pub fn of(mut rows: Vec<(Uuid, T)>, limit: i64, secret: &[u8; 32], list: &str) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| has_more).map(|(id, _)| seal_cursor(secret, list, *id));
        Self { object: "list", data: rows.into_iter().map(|(_, object)| object).collect(), has_more, next_cursor }
    }

    /// A list without pages.
    pub const fn whole(data: Vec<T>) -> Self {
        Self { object: "list", data, has_more: false, next_cursor: None }
    }
}

fn seal(secret: &[u8; 32], list: &str, id: Uuid) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(b"cursor\n");
    context.update(list.as_bytes());
    context.update(b"\n");
    context.update(id.as_bytes());
    context.sign()
}

fn seal_cursor(secret: &[u8; 32], list: &str, id: Uuid) -> String {
    let mut bytes = id.as_bytes().to_vec();
    bytes.extend_from_slice(&seal(secret, list, id).as_ref()[..SEAL]);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open_cursor(secret: &[u8; 32], list: &str, text: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, given) = bytes.split_at_checked(16)?;
    let id = Uuid::from_slice(id).ok()?;
    constant_time::verify_slices_are_equal(given, &seal(secret, list, id).as_ref()[..SEAL]).ok()?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn query(text: &str, known: &[&str]) -> Result<Query, Problem> {
        Query::of(&TestRequest::with_uri(&format!("/x?{text}")).to_http_request(), known)
    }

    proptest! {
        #[test]
        fn a_cursor_opens_for_its_own_list_only(id in any::<u128>(), flipped in 0usize..24) {
            let id = Uuid::from_u128(id);
            let cursor = seal_cursor(&SECRET, "payments", id);
            prop_assert_eq!(open_cursor(&SECRET, "payments", &cursor), Some(id));
            prop_assert_eq!(open_cursor(&SECRET, "refunds", &cursor), None);
            let mut bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("base64url");
            bytes[flipped] ^= 1;
            prop_assert_eq!(open_cursor(&SECRET, "payments", &URL_SAFE_NO_PAD.encode(bytes)), None);
        }

        #[test]
        fn arbitrary_cursors_and_queries_never_panic(text in "\\PC{0,60}") {
            prop_assert_eq!(open_cursor(&SECRET, "payments", &text), None);
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name() {
        let problem = query("sync=true", &["include"]).expect_err("unknown");
        assert_eq!((problem.code(), problem.param()), (ProblemCode::UnknownParameter, Some("sync")));
    }

    #[test]
    fn words_that_the_database_cannot_hold_or_that_are_too_many_are_refused() {
        let words = |text: &str| query(text, &["who"]).and_then(|query| query.words("who", 4)).map_err(|problem| problem.code());
        assert_eq!(words("who=%E5%92%96%E5%95%A1%E5%92%96%E5%95%A1"), Ok(Some("咖啡咖啡".to_owned())));
        assert_eq!(words("who=abcde"), Err(ProblemCode::InvalidRequest));
        assert_eq!(words("who=a%00b"), Err(ProblemCode::InvalidRequest));
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        let problem = query("limit=1&limit=2", &["limit"]).expect_err("twice");
        assert_eq!((problem.code(), problem.param()), (ProblemCode::InvalidRequest, Some("limit")));
    }

    #[test]
    fn brackets_may_be_written_plainly_or_encoded() {
        for text in ["created_at[gte]=2026-11-21T23:01:14Z", "created_at%5Bgte%5D=2026-11-21T23%3A01%3A14Z"] {
            let read = query(text, &["created_at[gte]"]).expect("known").time("created_at[gte]").expect("a time");
            assert_eq!(read, Some("2026-11-21T23:01:14Z".parse().expect("a time")));
        }
    }

    #[test]
    fn a_bound_between_two_milliseconds_leaves_out_the_earlier() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(ceiling(at("2026-11-21T23:01:14.000Z")), at("2026-11-21T23:01:14.000Z"));
        assert_eq!(ceiling(at("2026-11-21T23:01:14.000001Z")), at("2026-11-21T23:01:14.001Z"));
    }

    #[test]
    fn each_bound_of_time_takes_in_or_leaves_out_its_own_millisecond() {
        let bounds = |text: &str| {
            let query = query(text, &[FROM, AFTER, BEFORE, UNTIL]).expect("known");
            let shown = |at: Option<Timestamp>| at.map_or(String::new(), |at| at.to_string());
            format!("{}..{}", shown(query.since().expect("a time")), shown(query.until().expect("a time")))
        };
        let at = "2026-11-21T23:01:14Z";
        assert_eq!(bounds(&format!("created_at[gte]={at}")), "2026-11-21T23:01:14Z..");
        assert_eq!(bounds(&format!("created_at[gt]={at}")), "2026-11-21T23:01:14.001Z..");
        assert_eq!(bounds(&format!("created_at[lt]={at}")), "..2026-11-21T23:01:14Z");
        assert_eq!(bounds(&format!("created_at[lte]={at}")), "..2026-11-21T23:01:14.001Z");
        assert_eq!(bounds(&format!("created_at[gte]={at}&created_at[gt]={at}")), "2026-11-21T23:01:14.001Z..", "the narrower counts");
        assert_eq!(bounds(&format!("created_at[lt]={at}&created_at[lte]={at}")), "..2026-11-21T23:01:14Z");
    }

    #[test]
    fn a_limit_is_one_to_a_hundred_and_twenty_by_default() {
        let limit = |text: &str| query(text, &["limit"]).expect("known").limit().map_err(|problem| problem.code());
        assert_eq!(limit(""), Ok(20));
        assert_eq!(limit("limit=100"), Ok(100));
        for text in ["limit=0", "limit=101", "limit=-1", "limit=ten", "limit=1.0"] {
            assert_eq!(limit(text), Err(ProblemCode::InvalidRequest), "{text}");
        }
    }

    #[test]
    fn a_page_shows_no_more_than_its_limit_and_where_to_go_on() {
        let rows: Vec<_> = (1..=3u128).map(|n| (Uuid::from_u128(n), n)).collect();
        let page = Page::of(rows.clone(), 2, &SECRET, "payments");
        assert_eq!((&page.data[..], page.has_more), (&[1, 2][..], true));
        let cursor = page.next_cursor.expect("a cursor");
        assert_eq!(open_cursor(&SECRET, "payments", &cursor), Some(Uuid::from_u128(2)));
        let page = Page::of(rows, 3, &SECRET, "payments");
        assert_eq!((page.data.len(), page.has_more, page.next_cursor), (3, false, None));
    }
}
