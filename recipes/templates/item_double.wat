  ;; The square root in double precision, rounded once at the end.
  (func $item (param $number i64) (result f32)
    (f32.demote_f64 (f64.sqrt (f64.convert_i64_u (local.get $number)))))
