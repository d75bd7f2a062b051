//! One event of the shop, as JSON.

use super::catalogue::{
    ADJECTIVES, CAMPAIGNS, CATEGORIES, DEVICES, Device, NOUNS, PAGES, PLACES, REFERRERS,
};
use super::json::{put, put_hex, put_hundredths, put_number, put_padded, put_time, put_uuid};
use super::splitmix::SplitMix;

/// Products are 2^15, of which a few are seen most.
const PRODUCT_BITS: u64 = 15;
/// Parts of one in the latency's 2^14 hundredths of a millisecond.
const LATENCY_BITS: u64 = 14;
/// A session ends with the half hour.
const SESSION_MS: i64 = 30 * 60 * 1_000;

/// What happened. Out of a hundred events, so many are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    View,
    Product,
    Search,
    Cart,
    Purchase,
    Login,
}

impl Kind {
    fn draw(random: &mut SplitMix) -> Self {
        match random.below(100) {
            0..46 => Self::View,
            46..74 => Self::Product,
            74..84 => Self::Search,
            84..93 => Self::Cart,
            93..96 => Self::Purchase,
            _ => Self::Login,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::View => "page_view",
            Self::Product => "product_view",
            Self::Search => "search",
            Self::Cart => "add_to_cart",
            Self::Purchase => "purchase",
            Self::Login => "login",
        }
    }
}

/// Who did it: the same on every event of that user.
struct Profile {
    device: Device,
    country: &'static str,
    city: &'static str,
}

impl Profile {
    fn of(user: u64) -> Self {
        let mut random = SplitMix::of([user, 0, 1]);
        let (country, city) = random.pick(&PLACES);
        Self {
            device: random.pick(&DEVICES),
            country,
            city,
        }
    }
}

/// Writes the event of `user` at `time_ms`; `None` is a visitor who is not logged in.
pub(super) fn put_event(out: &mut Vec<u8>, random: &mut SplitMix, user: Option<u64>, time_ms: i64) {
    let kind = Kind::draw(random);
    let visitor = user.unwrap_or_else(|| random.next() >> 1);
    let profile = Profile::of(visitor);
    put(out, r#"{"type":""#);
    put(out, kind.name());
    put(out, r#"","id":""#);
    put_uuid(out, random.next(), random.next());
    put(out, r#"","user":"#);
    match user {
        Some(user) => {
            out.push(b'"');
            put_user(out, user);
            out.push(b'"');
        }
        None => put(out, "null"),
    }
    put(out, r#","session":""#);
    let half_hour = time_ms.div_euclid(SESSION_MS) as u64;
    put_hex(out, SplitMix::of([visitor, half_hour, 2]).next(), 12);
    put(out, r#"","ts":""#);
    put_time(out, time_ms);
    put(out, r#"","url":""#);
    let product = random.popular(PRODUCT_BITS);
    put_url(out, random, kind, product);
    out.push(b'"');
    put_optional(out, random);
    put(out, r#","ua":""#);
    put(out, profile.device.agent);
    put(out, r#"","geo":{"country":""#);
    put(out, profile.country);
    put(out, r#"","city":""#);
    put(out, profile.city);
    put(out, r#""},"device":"#);
    put(out, profile.device.json);
    if matches!(kind, Kind::Product | Kind::Cart | Kind::Purchase) {
        put_product(out, random, kind, product);
    }
    put(out, r#","latency_ms":"#);
    put_hundredths(out, 180 + random.popular(LATENCY_BITS));
    put(out, r#","status":"#);
    put(out, status(random));
    out.push(b'}');
}

/// A user as keys and events name them.
pub(super) fn put_user(out: &mut Vec<u8>, user: u64) {
    put(out, "u-");
    put_padded(out, user, 9);
}

fn put_url(out: &mut Vec<u8>, random: &mut SplitMix, kind: Kind, product: u64) {
    match kind {
        Kind::Login => put(out, "/account/login"),
        Kind::Search => {
            put(out, "/search?q=");
            put(out, adjective(product));
            out.push(b'+');
            put(out, noun(product));
        }
        Kind::View if random.below(3) > 0 => put(out, random.pick(&PAGES)),
        Kind::View => {
            put(out, "/c/");
            put(out, category(product));
            put(out, "?page=");
            put_number(out, 1 + random.popular(4));
        }
        Kind::Product | Kind::Cart | Kind::Purchase => {
            put(out, "/c/");
            put(out, category(product));
            put(out, "/");
            put(out, adjective(product));
            out.push(b'-');
            put(out, noun(product));
            out.push(b'-');
            put_number(out, product);
        }
    }
}

/// Fields that most events do not have.
fn put_optional(out: &mut Vec<u8>, random: &mut SplitMix) {
    let which = random.below(100);
    if which < 40 {
        put(out, r#","referrer":""#);
        put(out, random.pick(&REFERRERS));
        out.push(b'"');
    }
    if (30..42).contains(&which) {
        put(out, r#","campaign":""#);
        put(out, random.pick(&CAMPAIGNS));
        out.push(b'"');
    }
    if which >= 92 {
        put(out, r#","ab":["checkout-2","#);
        put(
            out,
            if which >= 96 {
                r#""hero-b"]"#
            } else {
                r#"null]"#
            },
        );
    }
}

fn put_product(out: &mut Vec<u8>, random: &mut SplitMix, kind: Kind, product: u64) {
    let price = 99 + 50 * SplitMix::of([product, 0, 3]).popular(9);
    put(out, r#","product":{"id":"P-"#);
    put_padded(out, product, 5);
    put(out, r#"","price":"#);
    put_hundredths(out, price);
    if kind != Kind::Product {
        let quantity = 1 + random.popular(3);
        put(out, r#","quantity":"#);
        put_number(out, quantity);
        put(out, r#","total":"#);
        put_hundredths(out, quantity * price);
        put(out, r#","coupon":"#);
        put(
            out,
            if random.one_in(8) {
                r#""SPRING10""#
            } else {
                "null"
            },
        );
    }
    out.push(b'}');
}

fn status(random: &mut SplitMix) -> &'static str {
    match random.below(200) {
        0..186 => "200",
        186..192 => "304",
        192..198 => "404",
        198 => "500",
        _ => "503",
    }
}

fn category(product: u64) -> &'static str {
    CATEGORIES[product as usize % CATEGORIES.len()]
}

fn adjective(product: u64) -> &'static str {
    ADJECTIVES[(product >> 4) as usize % ADJECTIVES.len()]
}

fn noun(product: u64) -> &'static str {
    NOUNS[(product >> 2) as usize % NOUNS.len()]
}
