//! Problems with placeholders of many files, of which a part is listed.

use crate::image::limits;
use crate::image::template::Problem;

/// Problems, as far as there are not too many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// Those that are listed.
    pub listed: Vec<Problem>,
    /// How many others there are.
    pub omitted: usize,
}

impl Problems {
    /// Adds those of one file.
    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        let room = limits::PROBLEMS.saturating_sub(self.listed.len()).min(limits::PROBLEMS_OF_FILE);
        let mut problems = problems.into_iter();
        self.listed.extend(problems.by_ref().take(room));
        self.omitted += problems.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::info::Values;
    use crate::image::template::{self, Format};

    #[test]
    fn a_part_of_many_problems_is_listed() {
        let problem = template::render("t", "$", Format::Text, &Values::new(), None).problems.remove(0);
        let mut problems = Problems::default();
        problems.extend(vec![problem.clone(); limits::PROBLEMS_OF_FILE + 1]);
        assert_eq!((problems.listed.len(), problems.omitted), (limits::PROBLEMS_OF_FILE, 1));
        for _ in 0..2 * limits::PROBLEMS {
            problems.extend([problem.clone()]);
        }
        let expected = (limits::PROBLEMS, limits::PROBLEMS_OF_FILE + 1 + limits::PROBLEMS);
        assert_eq!((problems.listed.len(), problems.omitted), expected);
    }
}
