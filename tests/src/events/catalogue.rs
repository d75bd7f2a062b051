//! What the shop's events are made of. Everywhere the first entries are the most frequent ones.

/// A kind of browser or app.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device {
    pub(super) agent: &'static str,
    /// Kind, system and screen, as the events' `device` object.
    pub(super) json: &'static str,
}

const fn device(agent: &'static str, json: &'static str) -> Device {
    Device { agent, json }
}

pub(super) const DEVICES: [Device; 12] = [
    device(
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Mobile Safari/537.36",
        r#"{"type":"mobile","os":"Android","w":412,"h":915}"#,
    ),
    device(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36",
        r#"{"type":"desktop","os":"Windows","w":1920,"h":1080}"#,
    ),
    device(
        "Shop/8.14.2 (iPhone16,2; iOS 18.5)",
        r#"{"type":"app","os":"iOS","w":430,"h":932,"push":true}"#,
    ),
    device(
        "Shop/8.14.1 (SM-S921B; Android 15)",
        r#"{"type":"app","os":"Android","w":360,"h":780,"push":false}"#,
    ),
    device(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
        r#"{"type":"mobile","os":"iOS","w":390,"h":844}"#,
    ),
    device(
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
        r#"{"type":"desktop","os":"macOS","w":1728,"h":1117}"#,
    ),
    device(
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        r#"{"type":"desktop","os":"Linux","w":2560,"h":1440}"#,
    ),
    device(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:139.0) Gecko/20100101 Firefox/139.0",
        r#"{"type":"desktop","os":"Windows","w":1536,"h":864}"#,
    ),
    device(
        "Shop/7.2.0 (iPad13,1; iOS 16.7)",
        r#"{"type":"tablet","os":"iOS","w":820,"h":1180,"push":true}"#,
    ),
    device(
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        r#"{"type":"bot","os":null}"#,
    ),
    device("okhttp/4.12.0", r#"{"type":"server","os":null}"#),
    device("curl/8.7.1", r#"{"type":"other","os":null}"#),
];

/// Country and city. Some are not ASCII.
pub(super) const PLACES: [(&str, &str); 16] = [
    ("US", "New York"),
    ("DE", "Berlin"),
    ("GB", "London"),
    ("NL", "Amsterdam"),
    ("DE", "München"),
    ("FR", "Paris"),
    ("US", "Los Angeles"),
    ("BR", "São Paulo"),
    ("IN", "Bengaluru"),
    ("JP", "東京"),
    ("PL", "Łódź"),
    ("CH", "Zürich"),
    ("ES", "Málaga"),
    ("ZA", "Cape Town"),
    ("SE", "Malmö"),
    ("IS", "Reykjavík"),
];

pub(super) const REFERRERS: [&str; 8] = [
    "https://www.google.com/",
    "https://www.google.de/",
    "https://www.instagram.com/",
    "android-app://com.google.android.gm/",
    "https://www.bing.com/",
    "https://duckduckgo.com/",
    "https://news.ycombinator.com/",
    "https://t.co/Qw3rTy9ZaB",
];

pub(super) const PAGES: [&str; 10] = [
    "/",
    "/sale",
    "/new",
    "/cart",
    "/account",
    "/account/orders",
    "/help",
    "/help/returns",
    "/stores",
    "/about",
];

pub(super) const CATEGORIES: [&str; 16] = [
    "shoes", "jackets", "kitchen", "garden", "toys", "books", "audio", "phones", "lighting",
    "bedding", "sports", "beauty", "office", "pets", "tools", "baby",
];

pub(super) const ADJECTIVES: [&str; 16] = [
    "blue", "black", "small", "large", "light", "warm", "classic", "folding", "cordless", "soft",
    "bright", "slim", "wooden", "steel", "quiet", "green",
];

pub(super) const NOUNS: [&str; 32] = [
    "lamp", "runner", "kettle", "parka", "shelf", "mug", "speaker", "drill", "pillow", "notebook",
    "backpack", "chair", "blender", "bottle", "charger", "blanket", "puzzle", "rake", "sandal",
    "headset", "pan", "desk", "tent", "brush", "leash", "monitor", "vase", "stroller", "saw",
    "clock", "hoodie", "scale",
];

pub(super) const CAMPAIGNS: [&str; 6] = [
    "spring-sale",
    "newsletter-2026-01",
    "retarget-7d",
    "brand",
    "influencer-lena",
    "app-install",
];
