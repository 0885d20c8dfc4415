//! The vendor's branding: the names, colours and links in mails and web pages.

use lettre::Address;
use serde::Serialize;

/// The branding as the vendor sets it. [`Brand::new`] checks it.
#[derive(Clone, Debug)]
pub struct BrandSettings {
    /// Name of the product.
    pub product: String,
    /// Name of the vendor.
    pub vendor: Option<String>,
    /// Colour of buttons and links, as `#rrggbb`.
    pub color: String,
    /// URL of the logo, https only.
    pub logo_url: Option<String>,
    /// Contact for customers' questions: an email address or an https URL.
    pub support: Option<String>,
    /// URL of the portal, at which customers request new install codes.
    pub portal_url: Option<String>,
}

impl Default for BrandSettings {
    fn default() -> Self {
        Self {
            product: "Appliance".to_owned(),
            vendor: None,
            color: "#1d4ed8".to_owned(),
            logo_url: None,
            support: None,
            portal_url: None,
        }
    }
}

/// An invalid branding setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct BrandError {
    /// Name of the setting.
    pub key: &'static str,
    /// Problem with the value.
    pub problem: &'static str,
}

/// A checked branding, as templates see it.
#[derive(Clone, Debug, Serialize)]
pub struct Brand {
    pub(crate) product: String,
    vendor: Option<String>,
    color: String,
    on_color: &'static str,
    logo_url: Option<String>,
    support: Option<String>,
    support_link: Option<String>,
    portal_url: Option<String>,
}

impl Brand {
    /// Checks the settings, and adds the text colour for `color` and the link to `support`.
    pub fn new(settings: BrandSettings) -> Result<Self, BrandError> {
        let BrandSettings { product, vendor, color, logo_url, support, portal_url } = settings;
        check_name("branding.product", Some(&product))?;
        check_name("branding.vendor", vendor.as_ref())?;
        let color = color.to_ascii_lowercase();
        let invalid_color =
            BrandError { key: "branding.color", problem: "must be a colour such as `#1d4ed8`" };
        let on_color = readable_on(rgb(&color).ok_or(invalid_color)?);
        if logo_url.as_ref().is_some_and(|url| !is_https(url)) {
            return Err(BrandError { key: "branding.logo_url", problem: "must be an https URL" });
        }
        let support_link = support.as_ref().map(|support| support_link(support)).transpose()?;
        Ok(Self { product, vendor, color, on_color, logo_url, support, support_link, portal_url })
    }

    /// Returns the address for `Reply-To`: the support contact, if it is an email address.
    pub(crate) fn reply_to(&self) -> Option<Address> {
        self.support.as_ref()?.parse().ok()
    }
}

fn check_name(key: &'static str, text: Option<&String>) -> Result<(), BrandError> {
    match text {
        Some(text) if text.trim().is_empty() => {
            Err(BrandError { key, problem: "must not be empty" })
        }
        Some(text) if text.chars().count() > 100 => {
            Err(BrandError { key, problem: "must have at most 100 characters" })
        }
        Some(text) if text.chars().any(char::is_control) => {
            Err(BrandError { key, problem: "must not have control characters" })
        }
        _ => Ok(()),
    }
}

fn is_https(url: &str) -> bool {
    let rest = url.strip_prefix("https://").unwrap_or_default();
    rest.starts_with(|first: char| first.is_alphanumeric())
        && !url.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn support_link(support: &str) -> Result<String, BrandError> {
    if support.parse::<Address>().is_ok() {
        return Ok(format!("mailto:{support}"));
    }
    let problem = "must be an email address or an https URL";
    if is_https(support) {
        Ok(support.to_owned())
    } else {
        Err(BrandError { key: "branding.support", problem })
    }
}

fn rgb(color: &str) -> Option<[u8; 3]> {
    let digits = color
        .strip_prefix('#')
        .filter(|it| it.len() == 6 && it.bytes().all(|it| it.is_ascii_hexdigit()))?;
    let value = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = value.to_be_bytes();
    Some([red, green, blue])
}

/// Returns white or black: the one with the higher contrast on this colour (WCAG 2.2, "relative
/// luminance" and "contrast ratio").
fn readable_on(rgb: [u8; 3]) -> &'static str {
    let linear = |channel: u8| {
        let channel = f64::from(channel) / 255.0;
        if channel <= 0.04045 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = rgb.map(linear);
    let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 { "#ffffff" } else { "#000000" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_contrasts_with_colour() {
        for (color, on_color) in [
            ("#1d4ed8", "#ffffff"),
            ("#FFFF00", "#000000"),
            ("#000000", "#ffffff"),
            ("#888888", "#000000"),
        ] {
            let brand =
                Brand::new(BrandSettings { color: color.to_owned(), ..BrandSettings::default() })
                    .unwrap();
            assert_eq!(
                (brand.color.as_str(), brand.on_color),
                (color.to_lowercase().as_str(), on_color)
            );
        }
    }

    #[test]
    fn unsafe_setting_is_refused() {
        let check = |change: fn(&mut BrandSettings)| {
            let mut settings = BrandSettings::default();
            change(&mut settings);
            Brand::new(settings).map(drop).map_err(|error| error.key)
        };
        assert_eq!(check(|it| it.support = Some("help@vendor.example".into())), Ok(()));
        assert_eq!(check(|it| it.support = Some("https://vendor.example/help".into())), Ok(()));
        for (change, key) in [
            ((|it| it.product = " ".into()) as fn(&mut BrandSettings), "branding.product"),
            (|it| it.product = "Product\r\nBcc: eve@example.com".into(), "branding.product"),
            (|it| it.vendor = Some(String::new()), "branding.vendor"),
            (|it| it.color = "red".into(), "branding.color"),
            (|it| it.color = "#12345;".into(), "branding.color"),
            (|it| it.color = "#éabc".into(), "branding.color"),
            (|it| it.logo_url = Some("http://vendor.example/logo.png".into()), "branding.logo_url"),
            (|it| it.logo_url = Some("https://".into()), "branding.logo_url"),
            (|it| it.support = Some("javascript:alert(1)".into()), "branding.support"),
        ] {
            assert_eq!(check(change), Err(key));
        }
    }

    #[test]
    fn replies_go_to_the_support_address() {
        let brand = |support: &str| {
            Brand::new(BrandSettings { support: Some(support.into()), ..BrandSettings::default() })
                .unwrap()
        };
        assert_eq!(
            brand("help@vendor.example").reply_to().map(|it| it.to_string()).unwrap(),
            "help@vendor.example"
        );
        assert_eq!(brand("https://vendor.example/help").reply_to(), None);
    }
}
