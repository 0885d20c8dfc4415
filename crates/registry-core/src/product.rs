//! Products. They are a catalogue in the configuration.

use std::collections::BTreeSet;

use crate::Refusal;
use crate::text::ProductCode;

/// The vendor's products, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductCatalogue {
    default: ProductCode,
    others: Vec<ProductCode>,
}

impl ProductCatalogue {
    /// Creates a catalogue. The first product is the default. Returns `None` for an empty list or a
    /// duplicate.
    pub fn new(products: impl IntoIterator<Item = ProductCode>) -> Option<Self> {
        let mut products = products.into_iter();
        let (default, others) = (products.next()?, products.collect::<Vec<_>>());
        let all: BTreeSet<_> = others.iter().chain([&default]).collect();
        (all.len() == others.len() + 1).then_some(Self { default, others })
    }

    /// The product of tenants that were registered without one.
    #[must_use]
    pub fn default_product(&self) -> &ProductCode {
        &self.default
    }

    /// Finds the product that a client named. `None` and an empty text select the default.
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
