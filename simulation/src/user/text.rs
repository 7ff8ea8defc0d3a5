//! Values as people read them: what `{:?}` would print of whatever can be serialised, so that commands, responses and
//! states are shown although nobody asks users for `Debug`. A set shows as a list, since serde knows no sets.

use std::fmt::{self, Display, Write};

use serde::ser::{self, Serialize};

/// A value, printed; where it cannot be serialised, why.
pub(crate) fn text(value: &impl Serialize) -> String {
    let mut printer = Printer::default();
    if let Err(Refused(reason)) = value.serialize(&mut printer) {
        printer.put(format_args!("<{reason}>"));
    }
    printer.0
}

/// What is printed so far.
#[derive(Default)]
struct Printer(String);

/// The value's own code said no.
#[derive(Debug)]
struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

impl Printer {
    fn put(&mut self, what: impl Display) {
        // Text grows without fail.
        let _ = write!(self.0, "{what}");
    }

    fn open(&mut self, name: &str, opening: &str, closing: &'static str) -> Parts<'_> {
        self.put(format_args!("{name}{opening}"));
        Parts { printer: self, is_first: true, closing }
    }
}

/// The parts of a value between its brackets.
struct Parts<'a> {
    printer: &'a mut Printer,
    /// Whether no part was printed yet.
    is_first: bool,
    /// What ends it.
    closing: &'static str,
}

impl Parts<'_> {
    fn part(&mut self, name: Option<&str>, value: &(impl Serialize + ?Sized)) -> Result<(), Refused> {
        if !std::mem::take(&mut self.is_first) {
            self.printer.put(", ");
        }
        if let Some(name) = name {
            self.printer.put(format_args!("{name}: "));
        }
        value.serialize(&mut *self.printer)
    }

    fn close(self) {
        self.printer.put(self.closing);
    }
}

macro_rules! as_displayed {
    ($($method:ident: $kind:ty),+) => {
        $(fn $method(self, value: $kind) -> Result<(), Refused> {
            self.put(value);
            Ok(())
        })+
    };
}

macro_rules! as_debugged {
    ($($method:ident: $kind:ty),+) => {
        $(fn $method(self, value: $kind) -> Result<(), Refused> {
            self.put(format_args!("{value:?}"));
            Ok(())
        })+
    };
}

impl<'a> ser::Serializer for &'a mut Printer {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    as_displayed!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    as_displayed!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);
    as_displayed!(serialize_i128: i128, serialize_u128: u128);
    as_debugged!(serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str);

    /// As the encoding in the log: some types are serialised in another way for people.
    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.put(format_args!("b\"{}\"", value.escape_ascii()));
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.put("None");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.serialize_newtype_struct("Some", value)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.put("()");
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Refused> {
        self.put(name);
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.put(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Refused> {
        let mut parts = self.open(name, "(", ")");
        parts.part(None, value)?;
        parts.close();
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.serialize_newtype_struct(variant, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Refused> {
        Ok(self.open("", "[", "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Refused> {
        Ok(self.open("", "(", ")"))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Parts<'a>, Refused> {
        Ok(self.open(name, "(", ")"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Refused> {
        Ok(self.open(variant, "(", ")"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Refused> {
        Ok(self.open("", "{", "}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts<'a>, Refused> {
        Ok(self.open(name, " { ", " }"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Refused> {
        Ok(self.open(variant, " { ", " }"))
    }
}

macro_rules! as_parts {
    ($($kind:ident::$method:ident($($name:ident)?)),+) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), Refused> {
                let names: &[&str] = &[$($name)?];
                self.part(names.first().copied(), value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close();
                Ok(())
            }
        })+
    };
}

as_parts!(SerializeSeq::serialize_element(), SerializeTuple::serialize_element());
as_parts!(SerializeTupleStruct::serialize_field(), SerializeTupleVariant::serialize_field());
as_parts!(SerializeStruct::serialize_field(field), SerializeStructVariant::serialize_field(field));

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.part(None, key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.printer.put(": ");
        value.serialize(&mut *self.printer)
    }

    fn end(self) -> Result<(), Refused> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    #[derive(Debug, Serialize)]
    struct Unit;

    #[derive(Debug, Serialize)]
    struct Wrapped(i8);

    #[derive(Debug, Serialize)]
    enum Shape {
        Plain,
        One(Option<u8>),
        Two(f64, char),
        Named { key: String, list: Vec<u64> },
    }

    #[derive(Debug, Serialize)]
    struct All {
        shapes: Vec<Shape>,
        map: BTreeMap<(u8, bool), Wrapped>,
        nothing: (),
        unit: Unit,
    }

    #[test]
    fn a_value_is_printed_as_debug_prints_it() {
        let named = Shape::Named { key: "a \"b\"".into(), list: vec![3, 4] };
        let shapes = vec![Shape::Plain, Shape::One(None), Shape::One(Some(1)), Shape::Two(1.0, 'x'), named];
        let all = All { shapes, map: [((1, true), Wrapped(-2))].into(), nothing: (), unit: Unit };
        assert_eq!(text(&all), format!("{all:?}"));
    }

    #[test]
    fn what_cannot_be_serialised_says_why() {
        struct Stubborn;
        impl Serialize for Stubborn {
            fn serialize<S: ser::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("no"))
            }
        }
        assert_eq!(text(&(1, Stubborn)), "(1, <no>");
    }
}
