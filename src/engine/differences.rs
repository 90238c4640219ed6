//! What code and rules know differently.

use std::fmt;

use super::set::FlagSet;
use crate::document::{Declaration, Variant};

/// What code and rules know differently, from [`FlagSet::differences`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differences {
    /// Declared in code and not in the set: reads give their defaults.
    pub unknown: Vec<&'static Declaration>,
    /// In the set and declared nowhere: code by name, or a leftover.
    pub undeclared: Vec<String>,
    /// In both, with variants that only one of them knows.
    pub other_variants: Vec<OtherVariants>,
}

/// A flag whose variants differ between code and rules.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherVariants {
    /// What the code says.
    pub declaration: &'static Declaration,
    /// Variants that the rules have and the enum does not: they read as its first one.
    pub only_in_rules: Vec<String>,
    /// Variants that the enum has and the rules do not. No caller is served them.
    pub only_in_code: Vec<&'static str>,
}

impl Differences {
    /// Whether code and rules agree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.undeclared.is_empty() && self.other_variants.is_empty()
    }
}

/// One line each: what, where, and what it means.
impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for declaration in &self.unknown {
            let Declaration { name, file, line, .. } = declaration;
            writeln!(f, "{file}:{line}: no rules have flag {name:?}: it reads as its default")?;
        }
        for OtherVariants { declaration, only_in_rules, only_in_code } in &self.other_variants {
            let Declaration { name, file, line, .. } = declaration;
            if !only_in_rules.is_empty() {
                writeln!(
                    f,
                    "{file}:{line}: flag {name:?} has variants that the code does not know: {only_in_rules:?}"
                )?;
            }
            if !only_in_code.is_empty() {
                writeln!(f, "{file}:{line}: flag {name:?} has no variants {only_in_code:?}: nobody is served them")?;
            }
        }
        for name in &self.undeclared {
            writeln!(f, "flag {name:?} is declared nowhere")?;
        }
        Ok(())
    }
}

impl FlagSet {
    /// Compares the set with the lists of declarations that the parts of an application hand in.
    ///
    /// ```
    /// use tower_flags::{Document, FlagSet, Timestamp, declare_flags};
    ///
    /// declare_flags! {
    ///     static SHOP_FLAGS;
    ///     /// One-page checkout.
    ///     NEW_CHECKOUT: bool = "new_checkout";
    /// }
    ///
    /// let set = FlagSet::compile(&Document::from_json(r#"{"flags": {"old_cart": true}}"#)?, Timestamp::now());
    /// let differences = set.differences(&[SHOP_FLAGS]);
    /// assert_eq!(differences.unknown[0].name, "new_checkout");
    /// assert_eq!(differences.undeclared, ["old_cart"]);
    /// # Ok::<(), tower_flags::Problem>(())
    /// ```
    #[must_use]
    pub fn differences(&self, lists: &[&[&'static Declaration]]) -> Differences {
        let declared = || lists.iter().copied().flatten().copied();
        let mut differences = Differences {
            unknown: declared().filter(|declaration| self.number(declaration.name).is_none()).collect(),
            undeclared: self
                .names()
                .filter(|name| declared().all(|declaration| declaration.name != *name))
                .map(str::to_owned)
                .collect(),
            other_variants: Vec::new(),
        };
        for declaration in declared().filter(|declaration| !declaration.variants.is_empty()) {
            let Some(flag) = self.flag(declaration.name) else { continue };
            let in_rules = || flag.variants().iter().map(Variant::name);
            let only_in_rules: Vec<String> =
                in_rules().filter(|name| !declaration.variants.contains(name)).map(str::to_owned).collect();
            let only_in_code: Vec<&'static str> =
                declaration.variants.iter().copied().filter(|name| in_rules().all(|other| other != *name)).collect();
            if !only_in_rules.is_empty() || !only_in_code.is_empty() {
                differences.other_variants.push(OtherVariants { declaration, only_in_rules, only_in_code });
            }
        }
        differences
    }
}
