//! `t!`: format! whose template is looked up in the catalogue of the language that was chosen.
mod template;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Expr, ExprAssign, LitStr, Token,
    parse::{Parse, ParseStream},
    parse_macro_input,
    punctuated::Punctuated,
};

/// What stands between the parentheses, as in format!.
struct Sentence {
    template: LitStr,
    arguments: Vec<Expr>,
}

impl Parse for Sentence {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let template = input.parse()?;
        let mut arguments = Vec::new();
        if input.parse::<Option<Token![,]>>()?.is_some() {
            let all = Punctuated::<Expr, Token![,]>::parse_terminated(input)?;
            arguments.extend(all);
        }
        Ok(Self {
            template,
            arguments,
        })
    }
}

/// A sentence for people, in the language that was chosen: `t!("{n} packets left by {link}")`.
///
/// Without placeholders it is a `&'static str`, with them a `String`. Placeholders are those of
/// format!, but for widths and precisions that are arguments themselves.
#[proc_macro]
pub fn t(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let sentence = parse_macro_input!(input as Sentence);
    let expanded = sentence.expand();
    expanded.unwrap_or_else(|e| e.to_compile_error()).into()
}

/// A text that is said elsewhere, by `netdiag_lang::say`: marks it for the catalogue.
#[proc_macro]
pub fn mark(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let text = parse_macro_input!(input as LitStr);
    text.into_token_stream().into()
}

/// A sentence that stays English where it is kept, as in a recording, and that
/// `netdiag_lang::retold` says in the language that was chosen: marks it for the catalogue.
#[proc_macro]
pub fn english(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let Sentence {
        template,
        arguments,
    } = parse_macro_input!(input as Sentence);
    quote!(::std::format!(#template #(, #arguments)*)).into()
}

impl Sentence {
    fn expand(&self) -> syn::Result<TokenStream> {
        let Self {
            template,
            arguments,
        } = self;
        let text = template.value();
        let places = template::places(&text);
        let places = places.map_err(|why| syn::Error::new(template.span(), why))?;
        if places.is_empty() && arguments.is_empty() && !text.contains(['{', '}']) {
            return Ok(quote!(::netdiag_lang::say(#template)));
        }
        let filled = places.iter().map(|place| self.filled(place));
        let filled = filled.collect::<syn::Result<Vec<_>>>()?;
        // An argument may have any name, that of this variable too.
        let said = syn::Ident::new("said", Span::mixed_site());
        Ok(quote! {
            match ::netdiag_lang::translated(#template) {
                ::core::option::Option::None => ::std::format!(#template #(, #arguments)*),
                ::core::option::Option::Some(#said) => ::netdiag_lang::fill(#said, &[#(#filled),*]),
            }
        })
    }

    /// A placeholder as it is written, and its value as text.
    fn filled(&self, place: &template::Place<'_>) -> syn::Result<TokenStream> {
        let key = place.key();
        let span = self.template.span();
        let value = match place.name.parse::<usize>() {
            Ok(at) => self.arguments.get(at).map(ToTokens::to_token_stream),
            Err(_) => Some(self.named(place.name).unwrap_or_else(|| {
                let name = syn::Ident::new(place.name, span);
                quote!(#name)
            })),
        };
        let Some(value) = value else {
            return Err(syn::Error::new(span, format!("{{{key}}} has no argument")));
        };
        let format = match place.spec {
            "" => "{}".to_owned(),
            spec => format!("{{:{spec}}}"),
        };
        Ok(quote!((#key, ::std::format!(#format, #value))))
    }

    /// The argument `name = value`.
    fn named(&self, name: &str) -> Option<TokenStream> {
        self.arguments.iter().find_map(|argument| match argument {
            Expr::Assign(ExprAssign { left, right, .. }) => {
                let left = left.to_token_stream().to_string();
                (left == name).then(|| right.to_token_stream())
            }
            _ => None,
        })
    }
}
