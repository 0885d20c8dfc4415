//! Products: a catalogue in the configuration.

use std::collections::BTreeSet;

use crate::Refusal;
use crate::text::ProductCode;

/// The products of this vendor; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductCatalogue {
    default: ProductCode,
    others: Vec<ProductCode>,
}

impl ProductCatalogue {
    /// A catalogue of these products, the first one for whoever names none. `None` where there is
    /// none, or one twice.
    pub fn new(products: impl IntoIterator<Item = ProductCode>) -> Option<Self> {
        let mut products = products.into_iter();
        let (default, others) = (products.next()?, products.collect::<Vec<_>>());
        let all: BTreeSet<_> = others.iter().chain([&default]).collect();
        (all.len() == others.len() + 1).then_some(Self { default, others })
    }

    /// The product of whoever names none.
    #[must_use]
    pub fn default_product(&self) -> &ProductCode {
        &self.default
    }

    /// Finds the product a client names; nothing or an empty text is the default.
    pub fn find(&self, code: Option<&str>) -> Result<&ProductCode, Refusal> {
        let all = || [&self.default].into_iter().chain(&self.others);
        match code {
            None | Some("") => Ok(&self.default),
            Some(code) => all().find(|product| product.as_str() == code).ok_or_else(|| {
                let names: Vec<_> = all().map(ProductCode::as_str).collect();
                Refusal::Invalid {
                    field: "product_code",
                    problem: format!("must be one of: {}", names.join(", ")),
                }
            }),
        }
    }
}
