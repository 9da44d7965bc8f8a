//! Rules of the repository that no compiler holds: who may depend on whom, what may be depended on, which files may import
//! each other, which read JSON by name, how files are called, that each test is run, that each program ships, that links of
//! pages lead somewhere, that what comes next is one command, that a test says which refusal it means, that pages stay
//! short and no phrase comes back that was misread, that what only macOS compiles is short.
